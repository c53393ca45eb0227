"""A tiny program of each task but image classification, with the data that it reads."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from parallel_texts import texts_in

from sweeps.spec.programs import program_from_dict
from workers.config import Program
from workers.games.atari import Atari
from workers.games.minatar import MinAtar
from workers.models.mlp import Mlp
from workers.optimizers.adam import Adam
from workers.tasks.ppo import Ppo, PpoProgram

WORDS = ["a", "film", "with", "some", "story", "and", "its", "cast", "in", "one", "long", "scene"]


def translating(directory: Path) -> Program:
    """Segments of four steps, which can be left after two. BLEU is not taken: its search takes longest to compile."""
    return program_from_dict(
        {
            "task": {"kind": "translate", "segment_steps": 4, "bleu_every": 100, "save_every_steps": 2},
            "model": {"layers": 1, "width": 8, "heads": 2, "mlp": 8},
            "data": texts_in(directory) | {"buckets": [20], "test_subset": 4},
            "optimizer": "adam",
            "batch_size": 160,
        }
    )


def on_glue(directory: Path) -> Program:
    """Segments of two steps, which can be left after one, and which end inside a pass over 24 sentences."""
    (folder := directory / "glue" / "SST-2").mkdir(parents=True)
    for file, count in (("train", 24), ("dev", 10)):
        turned = [WORDS[number % 7 :] + WORDS[: number % 5] for number in range(count)]
        rows = [
            f"{' '.join([*words[:5], ('bad', 'good')[number % 2]])}\t{number % 2}"
            for number, words in enumerate(turned)
        ]
        (folder / f"{file}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    sizes = {"vocabulary": 50, "embedding": 8, "hidden": 8, "layers": 1, "heads": 2, "intermediate": 8, "positions": 20}
    return program_from_dict(
        {
            "task": {"kind": "glue", "segment_examples": 16, "save_every_steps": 1},
            "model": sizes,
            "data": {"name": "sst2", "source": "tsv", "vocabulary_size": 30, "max_length": 16},
            "optimizer": "adam",
            "batch_size": 8,
        }
    )


def playing(directory: Path) -> Program:
    """Segments of two loops, which can be left after one."""
    return PpoProgram(
        task=Ppo(loops=2, save_every_loops=1),
        model=Mlp(width=4, layers=1),
        data=MinAtar(game="breakout"),
        optimizer=Adam(),
        batch_size=8,
        agents=2,
        actor_steps=8,
        passes=1,
    )


def emulating(directory: Path) -> Program:
    """As `playing`, in an emulator."""
    return replace(playing(directory), data=Atari(game="pong"))


SMALL_TASKS: Mapping[str, Callable[[Path], Program]] = {
    "translate": translating,
    "glue": on_glue,
    "minatar": playing,
    "atari": emulating,
}

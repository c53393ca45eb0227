"""Ways to harm a checkpoint: each is seen, the checkpoint before is used, and the curve is the same bit for bit.

CHAOS_HARMS says how often one is harmed.
"""

import os
import random
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bitwise import bits, bits_of

from abel.schedules import SCHEDULES
from workers.checkpoints.local import DRAFT, MANIFEST
from workers.cohort import train
from workers.config import Program
from workers.fold import Member
from workers.reports import Cohort, Damaged, Record
from workers.workshop import Workshop

SEED, HARMS = 20261125, int(os.environ.get("CHAOS_HARMS", "24"))
EPOCHS = 4


class Scene:
    """A trial's checkpoints after every epoch; ``last`` is the place of the deepest."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.directory = directory / "checkpoints"
        self.pristine = directory / "pristine"
        self.workshop = Workshop(checkpoints=self.directory, data_dir=None, save_every_seconds=0.0)
        member = Member(trial="a", schedule=SCHEDULES["constant"](learning_rate=0.1))
        cohort = Cohort(
            program=program, identity=self.workshop.identity(program), seed=3, epochs=EPOCHS + 1, members=(member,)
        )
        with closing(train(cohort, self.workshop)) as reports:
            seen = [report for report in reports if isinstance(report, Record)]
        *begun, self.following = seen
        self.begun = replace(cohort, observations=tuple(record.observation for record in begun))
        self.keys = [record.key for record in begun]
        shutil.rmtree(self.place(self.following.key))
        shutil.copytree(self.directory, self.pristine)

    def place(self, key: str) -> Path:
        return self.directory / key[:2] / key

    @property
    def last(self) -> Path:
        return self.place(self.keys[-1])

    def heal(self) -> None:
        shutil.rmtree(self.directory)
        shutil.copytree(self.pristine, self.directory)

    def go_on(self) -> tuple[list[Any], list[Any], list[dict[str, str]]]:
        """The keys found damaged, the epochs trained again, and the new epochs' bits."""
        reports = list(train(self.begun, self.workshop))
        damaged = [report.key for report in reports if isinstance(report, Damaged)]
        trained = [report for report in reports if isinstance(report, Record)]
        again = [record.epoch for record in trained if record.replay]
        return damaged, again, bits_of(record for record in trained if not record.replay)


def files_of(scene: Scene) -> list[Any]:
    return sorted(path for path in scene.last.rglob("*") if path.is_file())


def a_file(scene: Scene, draw: random.Random) -> Path:
    return draw.choice([path for path in files_of(scene) if path.stat().st_size])


def flip_a_bit(scene: Scene, draw: random.Random) -> None:
    path = a_file(scene, draw)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def flip_a_bit_of_the_manifest(scene: Scene, draw: random.Random) -> None:
    path = scene.last / MANIFEST
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def say_another_epoch(scene: Scene, draw: random.Random) -> None:
    path = scene.last / MANIFEST
    text = path.read_text()
    changed = text.replace(f'"epoch": {EPOCHS}', f'"epoch": {EPOCHS + draw.randrange(1, 6)}')
    assert changed != text
    path.write_text(changed)


def truncate(scene: Scene, draw: random.Random) -> None:
    path = a_file(scene, draw)
    os.truncate(path, draw.randrange(path.stat().st_size))


def empty(scene: Scene, draw: random.Random) -> None:
    os.truncate(a_file(scene, draw), 0)


def drop(scene: Scene, draw: random.Random) -> None:
    draw.choice(files_of(scene)).unlink()


def drop_the_state(scene: Scene, draw: random.Random) -> None:
    shutil.rmtree(scene.last / "state")


def append(scene: Scene, draw: random.Random) -> None:
    with draw.choice(files_of(scene)).open("ab") as file:
        file.write(draw.randbytes(draw.randrange(1, 9)))


def add_a_stray_file(scene: Scene, draw: random.Random) -> None:
    folders = [scene.last, *(path for path in scene.last.rglob("*") if path.is_dir())]
    (draw.choice(folders) / "stray").write_bytes(draw.randbytes(draw.randrange(9)))


def add_a_link(scene: Scene, draw: random.Random) -> None:
    (scene.last / "state" / "link").symlink_to(draw.choice([scene.last / MANIFEST, scene.last / "nowhere"]))


def swap_two_files(scene: Scene, draw: random.Random) -> None:
    one, other = draw.sample([path for path in files_of(scene) if path.name != MANIFEST], 2)
    if one.read_bytes() == other.read_bytes():
        one.write_bytes(b"not the other")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def copy_under_another_key(scene: Scene, draw: random.Random) -> None:
    shutil.rmtree(scene.last)
    shutil.copytree(scene.place(draw.choice(scene.keys[:-1])), scene.last)


DAMAGES = (
    *(flip_a_bit, flip_a_bit_of_the_manifest, say_another_epoch, truncate, empty, drop, drop_the_state, append),
    *(add_a_stray_file, add_a_link, swap_two_files, copy_under_another_key),
)


@pytest.fixture(scope="module")
def scene(tiny_program: Program, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tiny_program, tmp_path_factory.mktemp("damage"))


@pytest.mark.slow
def test_no_damage_is_silent_and_none_changes_the_curve(scene: Scene) -> None:
    assert scene.go_on() == ([], [], [bits(scene.following.metrics)])
    draw, done = random.Random(SEED), Counter()
    for number in range(HARMS):
        damage = DAMAGES[number % len(DAMAGES)]
        scene.heal()
        damage(scene, draw)
        ignored = not (scene.last / MANIFEST).exists()  # no checkpoint then, and in nobody's way
        told = (SEED, number, damage.__name__)
        damaged, again, following = scene.go_on()
        assert damaged == ([] if ignored else scene.keys[-1:]), told
        assert again == [EPOCHS], told  # from the checkpoint before
        assert following == [bits(scene.following.metrics)], told
        done[damage.__name__] += 1
    assert len(done) == len(DAMAGES)
    assert done.total() == HARMS


def test_when_several_are_damaged_the_deepest_whole_one_is_used(scene: Scene) -> None:
    scene.heal()
    for key in scene.keys[1:]:
        (scene.place(key) / MANIFEST).write_text("{}")
    assert scene.go_on() == (scene.keys[:0:-1], [2, 3, 4], [bits(scene.following.metrics)])


def test_drafts_that_a_dead_process_left_are_never_read(scene: Scene) -> None:
    scene.heal()
    draft = scene.last.parent / f"{DRAFT}{0:032x}"
    scene.last.rename(draft)
    assert scene.go_on() == ([], [EPOCHS], [bits(scene.following.metrics)])
    assert draft.exists()

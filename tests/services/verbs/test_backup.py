"""Tests for `abel weights`; the verified copy of the ledger is tested with recovery."""

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from answers import answer_here
from flax.traverse_util import flatten_dict
from object_stores import object_server
from typer.testing import CliRunner

from services.cli.app import app
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.run.frontier import Frontier
from sweeps.spec.sweep import parse_document
from workers.checkpoints import Checkpoints, StoreError, open_checkpoints
from workers.fold import part, states
from workers.glue.weights import PretrainedWeights
from workers.pretraining.training import MaskedLmTraining
from workers.reports import Cohort, Ended, Record, Saved
from workers.workshop import Workshop

SPEC = parse_document(
    {
        "name": "tiny",
        "program": {
            "task": {"kind": "masked_lm", "segment_examples": 4},
            "model": {
                **{"vocabulary": 30, "embedding": 4, "hidden": 4, "layers": 1},
                **{"heads": 1, "intermediate": 4, "positions": 12},
            },
            "data": {"files": ["lines.txt"], "vocabulary_size": 28, "max_length": 10, "held_out": 2},
            "optimizer": "adam",
            "batch_size": 4,
        },
        "epochs": 1,
        "seeds": [0, 1],
        "arms": {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}},
    }
)
WORDS = ["a", "film", "with", "some", "story", "and", "its", "cast", "in", "one", "long", "scene"]


@dataclass(frozen=True)
class Trained:
    """A training, a state other than its first, and the data directory."""

    workshop: Workshop
    training: Any
    state: Any
    data_dir: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    (folder / "lines.txt").write_text("\n".join(" ".join(random.permutation(WORDS)[:5]) for _ in range(12)))
    workshop = Workshop(checkpoints=folder / "checkpoints", data_dir=folder)
    training = workshop.training(SPEC.expand()[0].program)
    return Trained(workshop, training, jax.device_get(training.init(jax.random.key(7))), folder)


def reported(cohort: Cohort) -> tuple[str, list[Any]]:
    """The key of the state after a cohort's only epoch, and what a worker reports of it."""
    members = [(member, states(member.schedule, ())[-1]) for member in cohort.members]
    ((planned, _),) = part(members, 1, cohort.root, cohort.identity)
    metrics = {"train_loss": 1.0, "weight_norm_sq": 1.0, "masked_accuracy": 50.0, "seconds": 1.0}
    record = Record(key=planned.key, parent=cohort.root, epoch=1, metrics=metrics, finished_at_ms=1)
    trials = tuple(member.trial for member in cohort.members)
    saved = Saved(key=planned.key, epoch=1, seconds=0.0)
    return planned.key, [record, saved, Ended(trials=trials, epoch=1, diverged=False)]


def finish_one(trained: Trained) -> tuple[Settings, str]:
    """Enter the sweep in this test's home, and finish the trial of one seed; return the key of its last state."""
    settings = Settings.from_env().prepare()
    identities = {SPEC.expand()[0].program: trained.workshop.identity(SPEC.expand()[0].program)}
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        sweep_id = ledger.create_sweep(SPEC.name, SPEC.to_dict(), SPEC.expand(), identities)
        frontier = Frontier(ledger, sweep_id, ledger.begin_invocation(sweep_id), sharing=True)
        frontier.open(SPEC.expand(), identities)
        taken = [found for found in (frontier.take(), frontier.take()) if found is not None]
        ((number, cohort),) = [one for one in taken if one[1].seed == 0]
        key, reports = reported(cohort)
        open_checkpoints(settings.checkpoints, settings.store).save(key, 1, trained.state)
        frontier.hear(number, reports)
    return settings, key


def weights(trained: Trained, folder: Path, trial: str = "constant seed=0", *more: str) -> Any:
    where = ["--to", str(folder), "--data-dir", str(trained.data_dir)]
    return CliRunner().invoke(app, ["weights", "tiny", trial, *where, *more], env={"COLUMNS": "300"})


def check_files(trained: Trained, folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["model.safetensors", "spiece.model"]
    found = PretrainedWeights(path="model.safetensors").load(folder)
    ours = flatten_dict(trained.state.params, sep="/")
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(array, ours[name])
    assert (folder / "spiece.model").read_bytes() == trained.training.lines.vocabulary.model


def test_the_weights_of_a_finished_trial_are_written_bit_by_bit(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    finish_one(trained)
    done = weights(trained, tmp_path / "new" / "folder")
    assert (done.exit_code, "tiny, constant seed=0: weights after epoch 1, verified" in done.output) == (0, True)
    check_files(trained, tmp_path / "new" / "folder")
    again = weights(trained, tmp_path / "new" / "folder", "constant seed=0", "--json")
    assert json.loads(again.stdout)["files"][0].endswith("/new/folder/model.safetensors")
    like = tmp_path / "like"
    like.mkdir()
    assert (tmp_path / "new" / "folder").stat().st_mode == like.stat().st_mode  # other users may read weights
    check_files(trained, tmp_path / "new" / "folder")


def test_they_come_from_an_object_store(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    with object_server("s3") as server:
        for name, value in {**server.environment, "ABEL_STORE": server.url}.items():
            monkeypatch.setenv(name, value)
        finish_one(trained)
        assert weights(trained, tmp_path / "weights").exit_code == 0
    check_files(trained, tmp_path / "weights")


def test_what_cannot_be_exported_is_refused_in_a_sentence(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    settings, key = finish_one(trained)

    def refused(trial: str = "constant seed=0") -> str:
        done = weights(trained, tmp_path / "weights", trial)
        assert done.exit_code == 2 and not list(tmp_path.glob("weights/*"))
        return str(done.stderr)

    assert "trial 'none': must be one of sweep 'tiny' (constant seed=0, constant seed=1)" in refused("none")
    assert "'constant seed=1' of sweep 'tiny': must be finished, got waiting after epoch 0" in refused(
        "constant seed=1"
    )
    with monkeypatch.context() as patch:
        patch.delattr(MaskedLmTraining, "export")
        assert "task masked_lm: must be one that exports weights, which this task does not" in refused()
    lines = trained.data_dir / "lines.txt"
    before = lines.read_text()
    lines.write_text(before.replace("film", "filmed"))
    assert "data: must be those that the state was trained on" in refused()
    lines.write_text(before)
    place = open_checkpoints(settings.checkpoints).path(key)
    damaged = max(place.rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "its files do not match its manifest" in refused()
    open_checkpoints(settings.checkpoints).discard(key)
    assert f"its last checkpoint must be in {settings.checkpoints}, got none for state {key}" in refused()


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    finish_one(trained)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "model.safetensors").mkdir(parents=True)
    for place, named in (("file", "file"), ("file/below", "file/below"), ("folder", "folder/model.safetensors")):
        done = weights(trained, tmp_path / place)
        assert (done.exit_code, f"{tmp_path / named}: cannot be written: " in done.stderr) == (2, True)
    assert [one.name for one in (tmp_path / "folder").iterdir()] == ["model.safetensors"]  # no draft is left


@pytest.mark.parametrize("fault", [StoreError("the store: does not answer"), PermissionError(13, "Permission denied")])
def test_a_fault_of_the_machine_is_not_one_of_the_input(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    answer_here(monkeypatch)
    settings, key = finish_one(trained)

    def failing(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(Checkpoints, "restore", failing)
    done = weights(trained, tmp_path / "weights")
    assert (done.exit_code, str(fault) in done.stderr) == (1, True)
    if not isinstance(fault, StoreError):
        assert f"checkpoint {key} in {settings.checkpoints}: " in done.stderr


def test_a_process_of_its_own_writes_into_a_relative_folder(
    trained: Trained, own_directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_one(trained)
    monkeypatch.chdir(tmp_path)
    done = weights(trained, Path("new/folder"))
    assert (done.exit_code, done.stderr) == (0, "")
    check_files(trained, tmp_path / "new" / "folder")

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from workers.checkpoints import CheckpointDamaged, Checkpoints

KEY = "ab" * 32
STATE = {
    "weights": [jnp.arange(6, dtype=jnp.float32).reshape(2, 3), jnp.full((3,), -0.0)],
    "count": jnp.int32(7),
    "odd": jnp.array([jnp.nan, jnp.inf, 1e-40], jnp.float32),
}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path)


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_a_state_comes_back_bit_for_bit(checkpoints: Checkpoints) -> None:
    checkpoints.save(KEY, 3, STATE)
    restored = checkpoints.restore(KEY, like=STATE)
    assert np.asarray(restored["weights"][1]).tobytes() == np.asarray(STATE["weights"][1]).tobytes()
    assert np.asarray(restored["odd"]).tobytes() == np.asarray(STATE["odd"]).tobytes()
    assert restored["count"] == 7
    # An array committed to a device would compile the epoch a second time.
    assert not restored["weights"][0].committed


def test_a_missing_checkpoint_is_not_a_damaged_one(checkpoints: Checkpoints) -> None:
    assert KEY not in checkpoints
    with pytest.raises(FileNotFoundError):
        checkpoints.restore(KEY, like=STATE)


def test_saving_twice_keeps_the_first_and_leaves_no_draft(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.save(KEY, 3, STATE)
    before = {path: path.read_bytes() for path in files_of(tmp_path)}
    checkpoints.save(KEY, 3, {**STATE, "count": jnp.int32(8)})
    assert {path: path.read_bytes() for path in files_of(tmp_path)} == before


def test_a_checkpoint_is_intact_until_a_byte_of_it_changes(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert not checkpoints.intact(KEY)
    checkpoints.save(KEY, 3, STATE)
    assert checkpoints.intact(KEY)
    with (tmp_path / KEY[:2] / KEY / "manifest.json").open("a") as manifest:
        manifest.write(" ")
    assert not checkpoints.intact(KEY)


def test_a_checkpoint_weighs_what_its_files_do(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.sizes() == {}
    checkpoints.save(KEY, 3, STATE)
    assert checkpoints.sizes() == {KEY: sum(path.stat().st_size for path in files_of(tmp_path))}


def test_a_state_of_another_program_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(KEY, 3, STATE)
    with pytest.raises(CheckpointDamaged, match="state of this program"):
        checkpoints.restore(KEY, like={**STATE, "count": jnp.zeros(2, jnp.int32)})


def test_a_save_that_breaks_off_leaves_nothing(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.checkpoints.local._sync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(KEY, 3, STATE)
    assert KEY not in checkpoints
    assert files_of(tmp_path) == []


def test_a_folder_without_its_manifest_is_no_checkpoint_and_no_obstacle(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.save(KEY, 3, STATE)
    (tmp_path / KEY[:2] / KEY / "manifest.json").unlink()
    assert KEY not in checkpoints
    checkpoints.save(KEY, 3, STATE)
    checkpoints.restore(KEY, like=STATE)


def test_a_discarded_checkpoint_can_be_saved_anew(checkpoints: Checkpoints) -> None:
    checkpoints.save(KEY, 3, STATE)
    checkpoints.discard(KEY)
    assert KEY not in checkpoints
    checkpoints.save(KEY, 3, STATE)
    assert KEY in checkpoints


def test_asking_what_is_there_starts_no_threads_that_a_fork_would_hang_on(tmp_path: Path) -> None:
    ask = (
        "import os, sys, pathlib; from workers.checkpoints import Checkpoints; "
        "found = Checkpoints(pathlib.Path(sys.argv[1])); assert 'k' * 64 not in found and not found.sizes(); "
        "pid = os.fork(); pid or os._exit(0); os.waitpid(pid, 0)"
    )
    done = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # JAX warns of a fork beside its threads

"""What a checkpoint survives: a kill at any moment of its writing, a full disk, and a machine that loses its power."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.checkpoints.local import DRAFT, DRAFT_SECONDS, MANIFEST, Checkpoints

KEY, OTHER = "ab" * 32, "ab" + "cd" * 31  # in one folder
STATE = {"weights": np.arange(5000, dtype=np.float32), "count": np.int32(7)}
SEED = 20261125

# One process imports JAX and orbax once and forks a child for each save, which dies at the event of its number, at a time of
# its own, or not at all. An event is a file or folder made, opened, renamed or removed in the child's directory, or a sync.
SAVES = """
import os, signal, sys, time, warnings
from pathlib import Path
import numpy as np
import orbax.checkpoint  # once, and not in every child
from workers.checkpoints import Checkpoints

directory, key, *deaths = sys.argv[1:]
state = {"weights": np.arange(5000, dtype=np.float32), "count": np.int32(7)}
events = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")

def save(place, last):
    seen = 0
    def happens(what=None):
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, arguments):
        if event in events and str(place) in str(arguments[0]):
            happens()
    fsync = os.fsync
    os.fsync = lambda descriptor: (happens(), fsync(descriptor))[1]
    sys.addaudithook(hook)
    Checkpoints(place).save(key, 3, state)
    (place / "events").write_text(str(seen))

warnings.simplefilter("ignore")
for death in deaths:
    number, _, seconds = death.partition("+")
    place = Path(directory) / death
    place.mkdir()
    child = os.fork()
    if child == 0:
        save(place, int(number))
        os._exit(0)
    if seconds:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def die(directory: Path, *deaths: str) -> list[int]:
    """Save in a child for each death; the signals that ended them."""
    ended = subprocess.run(
        [sys.executable, "-c", SAVES, str(directory), KEY, *deaths], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [int(line) for line in ended.stdout.split()]


def drafts_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob(f"{DRAFT}*") if path.parent.parent == directory]


def is_whole(checkpoints: Checkpoints) -> bool:
    """Whether the checkpoint is there, and then whole; one in part would raise."""
    try:
        restored = checkpoints.restore(KEY, like=STATE)
    except FileNotFoundError:
        return False
    return all(np.array_equal(restored[name], STATE[name]) for name in STATE)


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint_or_none(tmp_path: Path) -> None:
    assert die(tmp_path, "0") == [0]
    events = int((tmp_path / "0" / "events").read_text())
    assert events > 20
    draw = random.Random(SEED)
    deaths = [str(number) for number in range(1, events + 1)]
    deaths += [f"0+{draw.uniform(0.0, 0.3)}" for _ in range(12)]  # in the midst of orbax's own threads
    signals = die(tmp_path, *deaths)
    for number, ended in enumerate(signals[:events], start=1):
        if ended == 0:  # orbax's threads make a few events more or less each time
            assert events - 10 < int((tmp_path / str(number) / "events").read_text()) < number
        else:
            assert ended == signal.SIGKILL
    found = set()
    for death in deaths:
        checkpoints, left = Checkpoints(tmp_path / death), drafts_in(tmp_path / death)
        found.add((is_whole(checkpoints), len(left)))
        assert len(left) <= 1
        checkpoints.save(KEY, 3, STATE)
        assert is_whole(checkpoints)
    # Killed before anything, in a draft, and after the rename: each has happened.
    assert found == {(False, 0), (False, 1), (True, 0)}


def test_what_a_dead_process_left_goes_with_the_next_save_once_it_is_old(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(KEY, 3, STATE)
    young, old = (tmp_path / KEY[:2] / f"{DRAFT}{name}" for name in ("young", "old"))
    for draft in (young, old):
        shutil.copytree(tmp_path / KEY[:2] / KEY, draft)
    hour_ago = time.time() - DRAFT_SECONDS - 1
    os.utime(old, (hour_ago, hour_ago))
    assert list(checkpoints.drafts()) == [old]
    assert checkpoints.drafts()[old] > STATE["weights"].nbytes / 2
    assert list(checkpoints.sizes()) == [KEY]
    checkpoints.save(OTHER, 3, STATE)
    assert drafts_in(tmp_path) == [young]
    assert is_whole(checkpoints)


def test_files_are_on_the_disk_before_a_checkpoint_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        happened.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def note_rename(source: Any, target: int) -> None:
        if Path(target).name == KEY:
            written = [path for path in Path(source).rglob("*") if path.is_file()]
            happened.extend(("written", path) for path in (*written, *{path.parent for path in written}))
            happened.append(("rename", Path(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    Checkpoints(tmp_path).save(KEY, 3, STATE)
    place = tmp_path / KEY[:2] / KEY
    renamed = happened.index(("rename", place))
    before = {path for what, path in happened[:renamed] if what == "sync"}
    written = {path for what, path in happened if what == "written"}
    assert written <= before
    assert any(path.name == MANIFEST for path in written)
    after = {path for what, path in happened[renamed:] if what == "sync"}
    assert {place.parent, tmp_path} <= after


FULL = """
import sys
from pathlib import Path
import numpy as np
from workers.checkpoints import Checkpoints
key, size = sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(0).standard_normal(size).astype(np.float32)
Checkpoints(Path(sys.argv[1])).save(key, 3, {"weights": random})
"""


def save_elsewhere(directory: Path, key: str, size: int) -> str:
    """Save so many random numbers in a process of its own; the last line of what it says against it."""
    command = [sys.executable, "-c", FULL, str(directory), key, str(size)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stderr.strip().splitlines()[-1] if ended.returncode else ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint_alone(small_disk: Path) -> None:
    checkpoints, mega = Checkpoints(small_disk), 2**20 // 4
    assert save_elsewhere(small_disk, OTHER, mega) == ""
    said = save_elsewhere(small_disk, KEY, 4 * mega)
    assert "No space left on device" in said
    assert (checkpoints.intact(OTHER), KEY in checkpoints) == (True, False)
    assert drafts_in(small_disk) == []
    assert save_elsewhere(small_disk, KEY, 2 * mega) == ""
    assert (checkpoints.intact(OTHER), checkpoints.intact(KEY)) == (True, True)

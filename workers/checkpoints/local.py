"""Checkpoints in a folder, written by orbax: training states by key, each with a sha256 manifest, written atomically.

A save writes a draft next to its destination, the manifest last, syncs every file and directory, and renames the draft. A
restore first verifies every byte, including the manifest: orbax alone restores 12 to 15 % of single-bit flips without an error.
A process killed during a save leaves a draft, which is never read; a later save in the same folder removes it once it is old.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
STATE = "state"
DRAFT = "draft-"
DRAFT_SECONDS = 3600.0  # an older draft was left behind by a process that died


class CheckpointDamaged(Exception):
    """A checkpoint whose files do not match its manifest, or that holds a state of another structure."""


class StoreError(OSError):
    """An object store is unreachable, or refuses a request."""


class Checkpoints:
    """The checkpoints in a directory; any number of processes may save and restore at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def __contains__(self, key: str) -> bool:
        return (self._place(key) / MANIFEST).exists()

    def save(self, key: str, epoch: int, state: Any) -> None:
        """Save a pytree of arrays under a state key; an existing checkpoint is kept."""
        place = self._place(key)
        if key in self:
            return
        from workers.checkpoints.arrays import (
            write_arrays,  # here, as a driver, which only lists, forks Ray's processes
        )

        with _written(place, self._directory) as draft:
            write_arrays(draft / STATE, state)
            (draft / MANIFEST).write_bytes(_manifest(key, epoch, _digests(draft)))

    def restore(self, key: str, like: Any) -> Any:
        """Return the state saved under a key, as arrays of this process in the structure of ``like``.

        Raises:
            FileNotFoundError: there is no checkpoint with this key.
            CheckpointDamaged: the checkpoint does not match its manifest; nothing was restored.
        """
        from workers.checkpoints.arrays import read_arrays

        place = self._place(key)
        _verify(key, place)
        return _like(like, read_arrays(place / STATE), place)

    def adopt(self, old: str, new: str) -> bool:
        """Store the state under ``old`` under ``new`` too, in the same files; return False if it is not there intact.

        Raises:
            OSError: the folder cannot be written.
        """
        source, place = self._place(old), self._place(new)
        if self.intact(new):
            return True
        try:
            epoch, files = _verify(old, source)
        except (FileNotFoundError, CheckpointDamaged):
            return False
        self.discard(new)
        try:
            with _written(place, self._directory) as draft:
                shutil.copytree(source, draft, copy_function=_link, ignore=shutil.ignore_patterns(MANIFEST))
                (draft / MANIFEST).write_bytes(_manifest(new, epoch, files))
        except OSError:
            if source.exists():
                raise
            return False  # removed meanwhile
        return True

    def path(self, key: str) -> Path:
        """Return the folder of a checkpoint, which need not exist."""
        return self._place(key)

    def read(self, key: str) -> dict[str, bytes]:
        """Return the files of a checkpoint, its manifest included, by their relative paths.

        Raises:
            FileNotFoundError: there is no checkpoint with this key.
            CheckpointDamaged: the files do not match the manifest.
        """
        place = self._place(key)
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        if MANIFEST not in files:
            raise FileNotFoundError(place)
        check_files(key, files, place)
        return files

    def take(self, key: str, files: Mapping[str, bytes]) -> None:
        """Store the files of a checkpoint that another process saved elsewhere; an existing checkpoint is kept.

        Args:
            files: content by relative path, its manifest included.

        Raises:
            CheckpointDamaged: the files do not match the manifest, or it is another checkpoint's; nothing is stored.
        """
        place = self._place(key)
        check_files(key, files, place)
        with _written(place, self._directory) as draft:
            for name, content in files.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).write_bytes(content)

    def discard(self, key: str) -> None:
        """Remove a checkpoint, so its state can be saved again."""
        place = self._place(key)
        draft = _draft(place)
        try:
            place.rename(draft)  # atomic: a partly removed folder would block a new save
        except FileNotFoundError:
            return
        shutil.rmtree(draft, ignore_errors=True)

    def intact(self, key: str) -> bool:
        """Whether a checkpoint with this key exists and verifies; reads all of it."""
        try:
            _verify(key, self._place(key))
        except (FileNotFoundError, CheckpointDamaged):
            return False
        return True

    def sizes(self, *, split: bool = False) -> dict[str, int]:
        """Return the size in bytes of everything stored as a checkpoint, intact or not, by key.

        Args:
            split: count a file that several checkpoints share in equal parts, so the sizes add up to what is on disk.
        """
        places = [place for place in self._directory.glob("??/*") if not place.name.startswith(DRAFT)]
        return {place.name: _size(place, split=split) for place in places}

    def drafts(self) -> dict[Path, int]:
        """Return the drafts left by dead processes, with their sizes in bytes; the caller may remove them."""
        return {draft: _size(draft) for folder in self._directory.glob("??") for draft in _drafts(folder)}

    def _place(self, key: str) -> Path:
        return self._directory / key[:2] / key


@contextmanager
def _written(place: Path, root: Path) -> Iterator[Path]:
    """Yield a draft, and move it into its place once the block has written it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in _drafts(place.parent):
        shutil.rmtree(left, ignore_errors=True)
    draft = _draft(place)
    try:
        yield draft
        _sync(*draft.rglob("*"), draft)
        _rename(draft, place)
        _sync(place.parent, root)  # directory entries of the checkpoint and of its folder, which may be new
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """Share a file between two folders, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _draft(place: Path) -> Path:
    return place.parent / f"{DRAFT}{uuid.uuid4().hex}"


def _drafts(folder: Path) -> list[Path]:
    """Return the drafts in a folder that are no longer being written."""
    left = []
    for draft in folder.glob(f"{DRAFT}*"):
        try:
            if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                left.append(draft)
        except FileNotFoundError:  # finished, or removed by another process
            continue
    return left


def _size(directory: Path, *, split: bool = False) -> int:
    size = 0
    with suppress(FileNotFoundError):  # removed by another process meanwhile
        for found in (path.lstat() for path in directory.rglob("*") if not path.is_dir()):
            size += found.st_size // (found.st_nlink if split else 1)
    return size


def _like(like: Any, leaves: list[Any], place: Path) -> Any:
    import jax

    expected = jax.tree.leaves(like)
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, leaf.dtype) for leaf in expected]:
        raise CheckpointDamaged(f"checkpoint {place}: must hold a state of this program, got arrays of other shapes")
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _verify(key: str, place: Path) -> tuple[int, dict[str, str]]:
    """Check all of a checkpoint; return its epoch and the sha256 of its files. Raises like :meth:`Checkpoints.restore`."""
    found = (place / MANIFEST).read_bytes()
    files = _digests(place)
    return _matched(key, found, files, place), files


def _matched(key: str, manifest: bytes, files: Mapping[str, str], place: Path) -> int:
    """Return the epoch of the checkpoint with this manifest, if key and files are those it names."""
    try:
        epoch = json.loads(manifest)["epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointDamaged(f"checkpoint {place}: cannot read its manifest ({error})") from None
    # Only the epoch is read from the manifest, whose digest covers it; key and files determine all other bytes.
    if manifest != _manifest(key, epoch, files):
        raise CheckpointDamaged(f"checkpoint {place}: its files do not match its manifest")
    return int(epoch)


def _manifest(key: str, epoch: int, files: Mapping[str, str]) -> bytes:
    content = {"key": key, "epoch": epoch, "files": files}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps(content | {"sha256": digest}, indent=1).encode()


def _digests(directory: Path) -> dict[str, str]:
    """Return the sha256 of every file except the manifest; links are never followed, as saves write none."""
    paths = sorted(path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {
        str(path.relative_to(directory)): "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path != directory / MANIFEST
    }


def check_files(key: str, files: Mapping[str, bytes], place: Path) -> None:
    """Check the files of a checkpoint by their relative paths; ``place`` names it in errors.

    Raises:
        CheckpointDamaged: they do not match their manifest, or it is another checkpoint's.
    """
    names = sorted((name for name in files if name != MANIFEST), key=Path)
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in names}
    _matched(key, files.get(MANIFEST, b""), digests, place)


def _sync(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(draft: Path, place: Path) -> None:
    if place.exists() and not (place / MANIFEST).exists():
        shutil.rmtree(place)  # a partly removed checkpoint
    try:
        draft.rename(place)
    except OSError:
        if not (place / MANIFEST).exists():  # otherwise another process saved the same state first
            raise

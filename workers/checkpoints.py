"""Checkpoints by orbax: a training state under its key, with a sha256 manifest, there whole or not at all.

A save writes to a draft beside its place, the manifest last, syncs every file and directory, and renames. A restore first
checks every byte, the manifest's too: orbax alone hands back 12 to 15 % of single-bit flips as if nothing were wrong. A process
killed in a save leaves a draft, which nobody reads and which the next save beside it removes once it is old.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

MANIFEST = "manifest.json"
STATE = "state"
DRAFT = "draft-"
DRAFT_SECONDS = 3600.0  # a draft that is older was left by a process that died


class CheckpointDamaged(Exception):
    """A checkpoint whose files are not what its manifest says, or that holds another kind of state."""


class Checkpoints:
    """The checkpoints in a directory; any number of processes may save and restore at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    @cached_property
    def _orbax(self) -> ocp.PyTreeCheckpointer:
        # Not before it is used: it starts JAX's threads, and a driver that only asks what is there forks Ray's processes.
        return ocp.PyTreeCheckpointer()

    def __contains__(self, key: str) -> bool:
        return (self._place(key) / MANIFEST).exists()

    def save(self, key: str, epoch: int, state: Any) -> None:
        """Save a pytree of arrays under a state key; one that is there already stays."""
        place = self._place(key)
        if key in self:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in _drafts(place.parent):
            shutil.rmtree(left, ignore_errors=True)
        draft = _draft(place)
        try:
            self._orbax.save(draft / STATE, _as_list(state))
            (draft / MANIFEST).write_bytes(_manifest(key, epoch, _digests(draft)))
            _sync(*draft.rglob("*"), draft)
            _rename(draft, place)
            _sync(place.parent, self._directory)  # the entries themselves: of the checkpoint, and of a folder just made
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def restore(self, key: str, like: Any) -> Any:
        """The state saved under a key, as arrays of this process in the structure of ``like``.

        Raises:
            FileNotFoundError: no checkpoint of this key.
            CheckpointDamaged: the manifest does not hold; nothing was restored.
        """
        place = self._place(key)
        _verify(key, place)
        # Arrays that orbax restores are committed to a device, which would compile the epoch a second time.
        leaves = [jax.device_put(np.asarray(leaf)) for leaf in self._orbax.restore(place / STATE)]
        return _like(like, leaves, place)

    def discard(self, key: str) -> None:
        """Remove a checkpoint, so that the state can be saved anew."""
        place = self._place(key)
        draft = _draft(place)
        try:
            place.rename(draft)  # at once: a folder half removed would stand in the way of a new save
        except FileNotFoundError:
            return
        shutil.rmtree(draft, ignore_errors=True)

    def intact(self, key: str) -> bool:
        """Whether there is a checkpoint of this key that verifies; reads all of it."""
        try:
            _verify(key, self._place(key))
        except (FileNotFoundError, CheckpointDamaged):
            return False
        return True

    def sizes(self) -> dict[str, int]:
        """The bytes of everything that stands in a checkpoint's place, by key."""
        return {place.name: _size(place) for place in self._directory.glob("??/*") if not place.name.startswith(DRAFT)}

    def drafts(self) -> dict[Path, int]:
        """The drafts that dead processes left, with their bytes; who wants them gone removes them."""
        return {draft: _size(draft) for folder in self._directory.glob("??") for draft in _drafts(folder)}

    def _place(self, key: str) -> Path:
        return self._directory / key[:2] / key


def _draft(place: Path) -> Path:
    return place.parent / f"{DRAFT}{uuid.uuid4().hex}"


def _drafts(folder: Path) -> list[Path]:
    """The drafts in a folder that nobody writes any more."""
    left = []
    for draft in folder.glob(f"{DRAFT}*"):
        try:
            if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                left.append(draft)
        except FileNotFoundError:  # finished, or removed by another process
            continue
    return left


def _size(directory: Path) -> int:
    size = 0
    with suppress(FileNotFoundError):  # removed by another process meanwhile
        for path in directory.rglob("*"):
            size += 0 if path.is_dir() else path.lstat().st_size
    return size


def _as_list(state: Any) -> list[np.ndarray]:
    # Leaves by position: their names and nesting are the task's own business, and "like" gives them back.
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def _like(like: Any, leaves: list[Any], place: Path) -> Any:
    expected = jax.tree.leaves(like)
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, leaf.dtype) for leaf in expected]:
        raise CheckpointDamaged(f"checkpoint {place}: must hold a state of this program, got other shapes")
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _verify(key: str, place: Path) -> None:
    """Check a checkpoint, all of it; see :meth:`Checkpoints.restore` for what is raised."""
    found = (place / MANIFEST).read_bytes()
    try:
        epoch = json.loads(found)["epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointDamaged(f"checkpoint {place}: its manifest cannot be read ({error})") from None
    # Only the epoch is taken from the manifest, and its digest covers that: any other byte follows from key and files.
    if found != _manifest(key, epoch, _digests(place)):
        raise CheckpointDamaged(f"checkpoint {place}: its files must match its manifest, and do not")


def _manifest(key: str, epoch: int, files: Mapping[str, str]) -> bytes:
    content = {"key": key, "epoch": epoch, "files": files}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps(content | {"sha256": digest}, indent=1).encode()


def _digests(directory: Path) -> dict[str, str]:
    """The sha256 of every file but the manifest. A link is no file of ours, wherever it leads."""
    paths = sorted(path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {
        str(path.relative_to(directory)): "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path != directory / MANIFEST
    }


def _sync(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(draft: Path, place: Path) -> None:
    if place.exists() and not (place / MANIFEST).exists():
        shutil.rmtree(place)  # what somebody removed in part
    try:
        draft.rename(place)
    except OSError:
        if not (place / MANIFEST).exists():  # another process saved the same state first: as good as ours
            raise

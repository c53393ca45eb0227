"""Checkpoints in an object store, one object a key, with a folder as cache in front of it.

A save writes and syncs the checkpoint in the cache, then creates the object, unless another process already has. A restore takes
the copy in the cache if it verifies, else the object, whose digest and manifest are checked before its files are written.

Stores have no conditional delete that obstore offers. An object is therefore replaced by a mark first, on condition that it is
still the version that was read or listed, and the mark is deleted. A mark counts as no checkpoint. A save that meets one waits
until it is gone, and replaces it if its process died.
"""

import math
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from workers.checkpoints.local import MANIFEST, CheckpointDamaged, Checkpoints, check_files
from workers.checkpoints.packing import pack, unpack
from workers.checkpoints.stores import ObjectStore, Stored

CACHE_BYTES = 10 * 10**9
USED_SECONDS = 600.0  # a copy used within this time stays in the cache, as a process may be reading it
MARK_BYTES = 100  # an archive has more than 1,000
MARK_SECONDS = 300.0  # the process that wrote a mark deletes it at once; after this time it is dead
DELETE_SECONDS = 60.0  # a process that is held up for longer leaves its mark to others
TRIM_SECONDS = 60.0  # between looks at the size of the cache


class RemoteCheckpoints(Checkpoints):
    """The checkpoints in ``checkpoints/`` below a URL; any number of processes on any machines may save and restore at once.

    Args:
        url: ``s3://bucket/prefix`` or ``gs://bucket/prefix``.
        cache: folder of copies, which may be deleted while no process uses it.
        cache_bytes: the copies used longest ago are removed beyond this size.

    Every method raises :class:`~workers.checkpoints.stores.StoreError` if the store is unreachable or refuses a request.
    """

    def __init__(self, url: str, cache: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        cache = self._usable(cache)
        super().__init__(cache)
        self._copies, self._trimmed_at = Checkpoints(cache), -math.inf
        self._objects = ObjectStore(f"{url.rstrip('/')}/checkpoints")
        self._cache_bytes = cache_bytes
        # The versions that were found damaged or listed: a discard must not remove what was saved since.
        self._seen: dict[str, Stored] = {}

    def __contains__(self, key: str) -> bool:
        return _is_checkpoint(self._objects.head(_name(key)))

    def save(self, key: str, epoch: int, state: Any) -> None:
        """Save a pytree of arrays under a state key; an existing checkpoint is kept."""
        if key in self:
            return
        self._upload(key, self._saved(key, epoch, state))
        self._trim()

    def restore(self, key: str, like: Any) -> Any:
        """Return the state saved under a key, as arrays of this process in the structure of ``like``.

        Raises:
            FileNotFoundError: there is no checkpoint with this key.
            CheckpointDamaged: the object does not match its digest or manifest; nothing was restored.
        """
        self._fetch(key)
        try:
            return self._copies.restore(key, like)
        except FileNotFoundError:  # another process removed the copy meanwhile
            self._fetch(key)
            return self._copies.restore(key, like)

    def adopt(self, old: str, new: str) -> bool:
        """Store the state under ``old`` under ``new`` too; return False if it is not there intact.

        Raises:
            OSError: the cache cannot be written, or the store.
        """
        if self.intact(new):
            return True
        try:
            self._fetch(old)
        except (FileNotFoundError, CheckpointDamaged):
            return False
        self.discard(new)
        if not self._copies.adopt(old, new):
            return False
        self._upload(new, self._copies.read(new))
        return True

    def discard(self, key: str) -> None:
        """Remove a checkpoint, so its state can be saved again, but not a version saved since it was read or listed."""
        self._copies.discard(key)
        seen, found = self._seen.pop(key, None), self._objects.head(_name(key))
        if not _is_checkpoint(found):
            return  # none, or the mark of another process
        # Lists of Google Cloud Storage lack the generation that a condition needs, so the version comes from this answer.
        if seen is not None and seen.etag != found.etag:
            return
        began = time.monotonic()
        marked = self._objects.replace(found, f"removed {uuid.uuid4().hex}".encode())
        if marked and time.monotonic() - began < DELETE_SECONDS:
            self._objects.delete(_name(key))

    def intact(self, key: str) -> bool:
        """Whether an object with this key exists and verifies; reads all of it."""
        try:
            self._read(key)
        except (FileNotFoundError, CheckpointDamaged):
            return False
        return True

    def sizes(self, *, split: bool = False) -> dict[str, int]:
        """Return the size in bytes of every object, intact or not, by key; ``split`` changes nothing, as none is shared."""
        found = {
            Path(one.name).stem: one for one in self._objects.all() if one.name.endswith(".tar") and _is_checkpoint(one)
        }
        self._seen.update(found)
        return {key: stored.size for key, stored in found.items()}

    def _fetch(self, key: str) -> None:
        """Bring an intact copy into the cache."""
        if self._copies.intact(key):
            with suppress(FileNotFoundError):
                os.utime(self._copies.path(key) / MANIFEST)
            return
        self._copies.discard(key)
        self._copies.take(key, self._read(key))
        self._trim()

    def _read(self, key: str) -> Mapping[str, bytes]:
        """Return the verified files of an object."""
        stored, content = self._objects.read(_name(key))
        if not _is_checkpoint(stored):
            raise FileNotFoundError(stored.name)
        self._seen[key] = stored
        files = unpack(content, f"{self._objects.url}/{stored.name}")
        check_files(key, files, self._copies.path(key))
        return files

    def _saved(self, key: str, epoch: int, state: Any) -> Mapping[str, bytes]:
        """Save a state in the cache and return its files, however often another process removes them meanwhile."""
        while True:
            if not self._copies.intact(key):
                self._copies.discard(key)
                self._copies.save(key, epoch, state)
            with suppress(FileNotFoundError, CheckpointDamaged):
                return self._copies.read(key)

    def _upload(self, key: str, files: Mapping[str, bytes]) -> None:
        name, content = _name(key), pack(files)
        mark, since = None, time.monotonic()
        while not self._objects.create(name, content):
            found = self._objects.head(name)
            if _is_checkpoint(found):
                return  # another process saved the same state first
            if found != mark:
                mark, since = found, time.monotonic()
            elif found and time.monotonic() - since > MARK_SECONDS and self._objects.replace(found, content):
                return
            time.sleep(0.2)

    def _usable(self, cache: Path) -> Path:
        """Return the cache, or on a machine where this process may not make it a folder of its own."""
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            cache = Path(tempfile.mkdtemp(prefix="abel-checkpoints-"))
            weakref.finalize(self, shutil.rmtree, cache, ignore_errors=True)
        return cache

    def _trim(self) -> None:
        """Remove the copies used longest ago, beyond the size of the cache; now and then, as it looks at every file."""
        if time.monotonic() - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = time.monotonic()
        used: dict[str, float] = {}
        sizes = self._copies.sizes()
        for key in sizes:
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                used[key] = (self._copies.path(key) / MANIFEST).stat().st_mtime
        excess = sum(sizes.values()) - self._cache_bytes
        for key in sorted(used, key=lambda key: used[key]):
            if excess <= 0 or time.time() - used[key] < USED_SECONDS:
                return
            self._copies.discard(key)
            excess -= sizes[key]


def _name(key: str) -> str:
    return f"{key[:2]}/{key}.tar"


def _is_checkpoint(stored: Stored | None) -> TypeGuard[Stored]:
    return stored is not None and stored.size > MARK_BYTES

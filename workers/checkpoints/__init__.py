"""Checkpoints: training states by key, each verified by a sha256 manifest whenever it is restored.

local    in a folder
arrays   their arrays, written by orbax
remote   in an object store, with a folder as cache in front of it
stores   the objects under one URL: ``s3://``, ``gs://``
"""

from pathlib import Path

from workers.checkpoints.local import CheckpointDamaged, Checkpoints, StoreError

__all__ = ["CheckpointDamaged", "Checkpoints", "StoreError", "open_checkpoints"]


def open_checkpoints(folder: Path, store: str | None = None) -> Checkpoints:
    """Return the checkpoints in a folder, or those in an object store, with the folder as their cache.

    Args:
        store: an ``s3://`` or ``gs://`` URL; checkpoints lie in ``checkpoints/`` below it.

    Raises:
        StoreError: the URL names no object store.
    """
    if store is None:
        return Checkpoints(folder)
    from workers.checkpoints.remote import RemoteCheckpoints  # imports obstore

    return RemoteCheckpoints(store, folder)

"""Trained vocabularies that are kept in the data directory, as training one can take minutes.

A file's name has two digests: of what the model was trained on, and of the model. So one rename puts a file in place, and a file
that was cut off or altered is not used: it is trained again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FOLDER = "vocabularies"
_DIGITS = 32  # of a sha256 in a name


def kept_model(data_dir: Path | None, trained_on: str, train: Callable[[], bytes]) -> bytes:
    """Return the model that is kept whole in a data directory; otherwise train it and keep it.

    Args:
        trained_on: sha256 (hex) of all that determines the model.
        train: returns the content of its file.
    """
    if data_dir is None:
        return train()
    folder = Path(data_dir) / _FOLDER
    found = _whole(folder, trained_on)
    if found is not None:
        return found
    model = train()
    with suppress(OSError):  # a data directory may be read-only: every process then trains its own, the same
        folder.mkdir(exist_ok=True)
        _keep(folder / _name(trained_on, model), model)
    return model


def _whole(folder: Path, trained_on: str) -> bytes | None:
    for file in sorted(folder.glob(_name(trained_on, None))):
        with suppress(OSError):
            model = file.read_bytes()
            if file.name == _name(trained_on, model):
                return model
    return None


def _keep(file: Path, model: bytes) -> None:
    draft = file.with_name(f".{uuid.uuid4().hex}")  # of this process alone, on whichever machine it is
    try:
        draft.write_bytes(model)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _name(trained_on: str, model: bytes | None) -> str:
    """Return the name of a file; without a model, a pattern of all names."""
    content = "*" if model is None else hashlib.sha256(model).hexdigest()[:_DIGITS]
    return f"{trained_on[:_DIGITS]}-{content}.model"

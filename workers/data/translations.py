"""TensorFlow Datasets sets of translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.data import DataError


def is_translation(features: Any) -> bool:
    """Whether the examples of a set are translations of a text into several languages."""
    import tensorflow_datasets as tfds  # takes seconds to import

    return isinstance(features, tfds.features.Translation)


def translated_languages(name: str, features: Any) -> Sequence[str]:
    """Return the languages of a set of translations.

    Raises:
        DataError: it has no translations.
    """
    if not is_translation(features):
        raise DataError(f"{name} must be a set of translations, got {type(features).__name__}")
    return tuple(features)

"""BLEU by sacreBLEU, of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.data.libraries import import_failure


def bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return the BLEU of a corpus, 0 to 100, with sacreBLEU's defaults: case counts, tokens by its rule 13a, smoothing "exp"."""
    return float(_library().corpus_bleu(list(translations), [list(references)]).score)


def signature() -> str:
    """Return what the score depends on: sacreBLEU's version."""
    return f"sacrebleu {_library().__version__}"


def _library() -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise import_failure("BLEU", "sacrebleu", error, "sacrebleu") from error
    return sacrebleu

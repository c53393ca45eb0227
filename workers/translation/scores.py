"""BLEU by sacreBLEU, of texts."""

from __future__ import annotations

from collections.abc import Sequence

import sacrebleu


def bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return the BLEU of a corpus, 0 to 100, with sacreBLEU's defaults: case counts, tokens by its rule 13a, smoothing "exp"."""
    return float(sacrebleu.corpus_bleu(list(translations), [list(references)]).score)


def signature() -> str:
    """Return what the score depends on: sacreBLEU's version."""
    return f"sacrebleu {sacrebleu.__version__}"

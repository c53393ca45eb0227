"""The data of a translation: which parallel texts, which vocabulary, and the lengths that batches are filled up to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workers.config import is_inside, require

if TYPE_CHECKING:
    from workers.translation.corpus import ParallelCorpus
    from workers.translation.pairs import PairSource
    from workers.translation.subwords import Subwords

_CHARACTERS = 10_000_000  # of the texts that a vocabulary is trained on, as in Flax's example
_VOCABULARY_SIZE = 32_000


@dataclass(frozen=True, kw_only=True)
class TextPairs:
    """Parallel texts: files with one sentence a line, or TFDS sets of translations.

    Args:
        train: sources of training pairs. A source is `tfds:NAME@SPLIT`, or the path in the data directory of two text files
            without the languages at their end: `multi30k/train` for `train.en` and `train.de`, each of them plain or gzipped.
        back_translated: sources of further training pairs, whose source side was translated by a machine from the target side.
    """

    kind: Literal["text_pairs"] = "text_pairs"
    languages: tuple[str, str] = ("en", "de")  # of the sources and of the targets
    train: tuple[str, ...]
    back_translated: tuple[str, ...] = ()
    test: str  # source of the test pairs
    subset: int | None = None  # use only the first `subset` pairs of each source of `train`; null for all
    test_subset: int | None = None  # use only the first `test_subset` test pairs; null for all
    vocabulary: str | None = None  # path in the data directory of a SentencePiece model; null to train one on `train`
    vocabulary_size: int = _VOCABULARY_SIZE  # tokens of a vocabulary that is trained
    buckets: tuple[int, ...] = (16, 32, 64, 128, 256)  # lengths of rows in tokens; longer training pairs are left out

    def __post_init__(self) -> None:
        for language in self.languages:
            require(language.isidentifier(), "languages", "be two names such as en and de", self.languages)
        require(self.languages[0] != self.languages[1], "languages", "differ from each other", self.languages)
        require(bool(self.train), "train", "have at least one source", self.train)
        for name, sources in (("train", self.train), ("back_translated", self.back_translated)):
            require(all(map(_is_source, sources)), name, _RULE, sources)
        require(_is_source(self.test), "test", _RULE, self.test)
        for name, count in (("subset", self.subset), ("test_subset", self.test_subset)):
            require(count is None or count >= 1, name, "be at least 1, or null", count)
        inside = self.vocabulary is None or is_inside(self.vocabulary)
        require(inside, "vocabulary", "be a path inside the data directory, or null", self.vocabulary)
        sized = self.vocabulary is None or self.vocabulary_size == _VOCABULARY_SIZE
        require(sized, "vocabulary_size", "be left out where vocabulary names a file", self.vocabulary_size)
        require(self.vocabulary_size >= 8, "vocabulary_size", "be at least 8", self.vocabulary_size)
        rising = list(self.buckets) == sorted(set(self.buckets)) and bool(self.buckets) and self.buckets[0] >= 2
        require(rising, "buckets", "be ascending lengths of at least 2", self.buckets)

    def load(self, data_dir: Path | None) -> ParallelCorpus:
        """Read and encode the texts.

        Raises:
            DataMissing: a file, a set or the vocabulary is not there.
            DataError: it cannot be used.
        """
        from workers.translation.corpus import ParallelCorpus, encoded
        from workers.translation.pairs import open_pairs

        seen, more, (unseen,) = (
            [open_pairs(place, self.languages, data_dir) for place in places]
            for places in (self.train, self.back_translated, (self.test,))
        )
        subwords = self._subwords(seen, data_dir)
        counts = [*(_count(source, self.subset, "subset") for source in seen), *map(len, more)]
        tested = _count(unseen, self.test_subset, "test_subset")
        train, left_out = encoded([*seen, *more], counts, subwords, self.buckets[-1])
        test, _ = encoded([unseen], [tested], subwords)
        return ParallelCorpus(
            name=", ".join((*self.train, *self.back_translated)),
            subwords=subwords,
            buckets=self.buckets,
            train=train,
            test=test,
            references=tuple(_targets(unseen, tested)),
            left_out=left_out,
        )

    def _subwords(self, sources: Sequence[PairSource], data_dir: Path | None) -> Subwords:
        from workers.data import DataMissing
        from workers.translation.subwords import Subwords

        if self.vocabulary is None:
            return Subwords(self._trained(sources, data_dir), "the trained vocabulary")
        if data_dir is None:
            raise DataMissing(f"{self.vocabulary}: a data directory must be given (--data-dir)")
        file = Path(data_dir) / self.vocabulary
        if not file.is_file():
            raise DataMissing(f"{file}: the vocabulary does not exist; leave vocabulary out to train one")
        return Subwords(file.read_bytes(), str(file))

    def _trained(self, sources: Sequence[PairSource], data_dir: Path | None) -> bytes:
        """Return the model trained on the texts, from the data directory if one of the same texts is kept there."""
        from workers.text.kept import kept_model
        from workers.text.vocabulary import trainer_version
        from workers.translation.subwords import TRAINER, trained_model

        texts = list(_sampled(sources, [_count(source, self.subset, "subset") for source in sources]))
        named = hashlib.sha256(repr((trainer_version(), self.vocabulary_size, sorted(TRAINER.items()))).encode())
        named.update("\n".join(texts).encode())
        return kept_model(data_dir, named.hexdigest(), lambda: trained_model(texts, self.vocabulary_size))


_RULE = "name text files inside the data directory or tfds:NAME@SPLIT"


def _is_source(place: str) -> bool:
    name, at, split = place.removeprefix("tfds:").partition("@")
    return bool(is_inside(name) and at and split) if place.startswith("tfds:") else is_inside(place)


def _count(source: PairSource, subset: int | None, field: str) -> int:
    from workers.data import DataError

    if subset is not None and subset > len(source):
        raise DataError(f"{source.name}: {field} must be at most {len(source)}, the number of its pairs, got {subset}")
    return len(source) if subset is None else subset


def _sampled(sources: Sequence[PairSource], counts: Sequence[int]) -> Iterator[str]:
    """Yield both sides of pairs, in equal shares of every source, up to the number of characters that a vocabulary needs."""
    from workers.translation.pairs import texts_of

    share = _CHARACTERS // len(sources)
    for source, total in zip(sources, counts, strict=True):
        taken = 0
        for pair in chain.from_iterable(texts_of(source, total)):
            yield from pair
            taken += sum(map(len, pair))
            if taken >= share:
                break


def _targets(source: PairSource, total: int) -> Iterator[str]:
    from workers.translation.pairs import texts_of

    yield from (pair.target for pair in chain.from_iterable(texts_of(source, total)))

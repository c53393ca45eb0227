"""The eight tasks of the GLUE benchmark that the paper reports (table S1; it leaves out WNLI), and how their files are laid out.

TSV_LAYOUTS["sst2"].classes == ("0", "1")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

GlueName = Literal["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"]
ScoreName = Literal["accuracy", "matthews", "f1", "pearson"]

GLUE_NAMES: tuple[GlueName, ...] = get_args(GlueName)
# As in table S1. MRPC's accuracy and STS-B's rank correlation, which GLUE also has, are not in the paper.
SCORES: Mapping[GlueName, ScoreName] = {
    **dict.fromkeys(GLUE_NAMES, "accuracy"),
    "cola": "matthews",
    "stsb": "pearson",
    "mrpc": "f1",
}
# Names of the sentences in TensorFlow Datasets, in the order in which the network reads them.
TFDS_SENTENCES: Mapping[GlueName, tuple[str, ...]] = {
    "mnli": ("premise", "hypothesis"),
    "qqp": ("question1", "question2"),
    "qnli": ("question", "sentence"),
    "sst2": ("sentence",),
    "cola": ("sentence",),
    "stsb": ("sentence1", "sentence2"),
    "mrpc": ("sentence1", "sentence2"),
    "rte": ("sentence1", "sentence2"),
}
_PAIR = ("sentence1", "sentence2")
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True, kw_only=True)
class TsvLayout:
    """The tab-separated files of a task: GLUE's own, or those of the original release.

    Args:
        folder: its name in GLUE's download.
        train: names of the files to train on; the first choice whose files are all there is taken, and its files are joined.
        tests: the same for each set of test sentences.
        sentences: names of the columns with the sentences.
        label: name of the column with the label.
        classes: the labels, in the order of their numbers; empty for a score.
        columns: names of the columns where a file has no header; empty if every file has one.
        extra_columns: whether rows without a header may have more columns.
        index: name of a column of numbers that joined files are sorted by; empty if they are not.
        skips_short_rows: whether rows with too few columns are left out, as GLUE's reference code does.
        has_empty_seconds: whether second sentences may be empty.
    """

    folder: str
    train: tuple[tuple[str, ...], ...] = (("train.tsv",),)
    tests: tuple[tuple[tuple[str, ...], ...], ...] = ((("dev.tsv",),),)
    sentences: tuple[str, ...] = _PAIR
    label: str = "label"
    classes: tuple[str, ...] = _BINARY
    columns: tuple[str, ...] = ()
    extra_columns: bool = False
    index: str = ""
    skips_short_rows: bool = False
    has_empty_seconds: bool = False


TSV_LAYOUTS: Mapping[GlueName, TsvLayout] = {
    "mnli": TsvLayout(
        folder="MNLI",
        tests=((("dev_matched.tsv",),), (("dev_mismatched.tsv",),)),
        label="gold_label",
        classes=("entailment", "neutral", "contradiction"),
    ),
    "qqp": TsvLayout(
        folder="QQP",
        sentences=("question1", "question2"),
        label="is_duplicate",
        skips_short_rows=True,
        has_empty_seconds=True,  # two training rows have none, also in TensorFlow Datasets
    ),
    "qnli": TsvLayout(folder="QNLI", sentences=("question", "sentence"), classes=_ENTAILMENT),
    "sst2": TsvLayout(folder="SST-2", sentences=("sentence",)),
    "cola": TsvLayout(
        folder="CoLA",
        train=(("train.tsv",), ("in_domain_train.tsv",)),
        tests=((("dev.tsv",), ("in_domain_dev.tsv", "out_of_domain_dev.tsv")),),
        sentences=("sentence",),
        columns=("source", "label", "star", "sentence"),
    ),
    "stsb": TsvLayout(
        folder="STS-B",
        train=(("train.tsv",), ("sts-train.tsv",), ("sts-train.csv",)),  # the original's .csv are tab-separated, too
        tests=((("dev.tsv",), ("sts-dev.tsv",), ("sts-dev.csv",)),),
        label="score",
        classes=(),
        columns=("genre", "file", "year", "index", "score", "sentence1", "sentence2"),
        extra_columns=True,  # some rows name their source
    ),
    "mrpc": TsvLayout(
        folder="MRPC",
        sentences=("#1 String", "#2 String"),
        label="Quality",
        columns=("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    ),
    "rte": TsvLayout(
        folder="RTE",
        train=(("train.tsv", "val.tsv"), ("train.tsv",)),
        classes=_ENTAILMENT,
        columns=("index", "sentence1", "sentence2", "label"),
        index="index",
    ),
}
TFDS_TESTS: Mapping[GlueName, tuple[str, ...]] = {
    **dict.fromkeys(GLUE_NAMES, ("validation",)),
    "mnli": ("validation_matched", "validation_mismatched"),
}

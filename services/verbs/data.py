"""The verbs of ``abel data``: list the sources, read a data set, prepare one."""

from pathlib import Path

from services.errors import OperationError
from services.schemas import DataReport, DataSources
from workers import plugins
from workers.data import prepare as preparing
from workers.data.tfds import TEST_SPLITS, Tfds, open_prepared
from workers.data.translations import is_translation, translated_languages

# Where TFDS puts prepared data sets: NAME/VERSION, or NAME/CONFIG/VERSION.
PREPARED = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")


def sources(data_dir: Path | None) -> DataSources:
    """The installed kinds of source, and the TFDS data sets prepared in the directory."""
    kinds = {kind: _summary(variant) for kind, variant in plugins.variants(plugins.DATA).items()}
    found = [info for pattern in PREPARED for info in data_dir.glob(pattern)] if data_dir else []
    prepared = sorted({info.parent.parent.relative_to(data_dir).as_posix() for info in found}) if data_dir else []
    return DataSources(kinds=kinds, data_dir=data_dir, prepared=tuple(prepared))


def check_data(name: str, data_dir: Path | None) -> DataReport:
    """Read a data set as a sweep would; of a set of translations, only what TFDS says of it.

    Raises:
        DataError: it is missing, or has neither labelled images nor translations.
    """
    kinds = plugins.variants(plugins.DATA)
    if name not in kinds and is_translation((info := open_prepared(name, data_dir).info).features):
        sizes = {split: found.num_examples for split, found in info.splits.items()}
        return DataReport(
            name=name,
            train_examples=sizes.get("train", 0),
            test_examples=sizes.get("test", 0),
            languages=tuple(translated_languages(name, info.features)),
        )
    source = (
        kinds[name]() if name in kinds and name != "tfds" else Tfds(name=name, test_split=TEST_SPLITS.get(name, "test"))
    )
    dataset = source.load(data_dir)
    return DataReport(
        name=name,
        train_examples=dataset.examples,
        test_examples=dataset.test_examples,
        shape=dataset.shape,
        classes=dataset.classes,
        digest=dataset.digest,
    )


def prepare_data(name: str, data_dir: Path | None) -> DataReport:
    """Download and prepare a TFDS data set if it is missing, and read it.

    Raises:
        OperationError: no data directory is set.
        DataError: it cannot be prepared or read.
    """
    if name in plugins.variants(plugins.DATA):
        return check_data(name, data_dir)
    if data_dir is None:
        raise OperationError(f"{name}: needs a data directory (--data-dir or ABEL_DATA_DIR)")
    preparing.prepare(name, data_dir)
    return check_data(name, data_dir)


def _summary(variant: type[object]) -> str:
    return (variant.__doc__ or "").strip().partition("\n")[0]

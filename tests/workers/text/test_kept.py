"""Kept vocabularies: trained once, and again where a file is damaged."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.text.kept import kept_model

KEY = "ab" * 32
MODEL = b"a model of pieces"


def failing() -> bytes:
    raise AssertionError("it is trained although a whole one is kept")


def test_a_whole_model_is_read_and_another_key_s_is_not(tmp_path: Path) -> None:
    assert kept_model(tmp_path, KEY, lambda: MODEL) == MODEL
    assert kept_model(tmp_path, KEY, failing) == MODEL
    assert kept_model(tmp_path, KEY[::-1], lambda: b"another") == b"another"
    assert kept_model(None, KEY, lambda: b"not kept") == b"not kept"
    assert len(list((tmp_path / "vocabularies").iterdir())) == 2


def cut_off(file: Path) -> None:
    file.write_bytes(MODEL[:-1])


def altered(file: Path) -> None:
    file.write_bytes(MODEL.replace(b"pieces", b"p1eces"))


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def turned_into_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [cut_off, altered, emptied, turned_into_a_folder])
def test_a_damaged_model_is_never_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    kept_model(tmp_path, KEY, lambda: MODEL)
    (file,) = (tmp_path / "vocabularies").iterdir()
    damage(file)
    assert kept_model(tmp_path, KEY, lambda: MODEL) == MODEL
    if file.is_file():
        assert kept_model(tmp_path, KEY, failing) == MODEL
    assert list((tmp_path / "vocabularies").iterdir()) == [file]  # no draft is left


def test_writers_that_train_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    model, both = os.urandom(2**20), threading.Barrier(2)

    def train() -> bytes:
        both.wait(timeout=60)
        return model

    found: list[bytes] = []
    writers = [threading.Thread(target=lambda: found.append(kept_model(tmp_path, KEY, train))) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert found == [model, model]
    assert kept_model(tmp_path, KEY, failing) == model
    assert len(list((tmp_path / "vocabularies").iterdir())) == 1


def test_a_directory_that_cannot_be_written_trains_each_time(tmp_path: Path) -> None:
    (tmp_path / "vocabularies").write_text("in the place of the folder")
    models = iter([MODEL, b"another"])
    assert [kept_model(tmp_path, KEY, lambda: next(models)) for _ in range(2)] == [MODEL, b"another"]

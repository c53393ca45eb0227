"""A library that does not import: it is missing only if it is that very module that is not found."""

from collections.abc import Callable
from pathlib import Path

import pytest
from imports import fail_import

from workers.data import DataError
from workers.glue.weights import PretrainedWeights
from workers.text.vocabulary import PieceModel
from workers.translation import scores

GOLDEN = Path(__file__).parents[1] / "glue" / "golden"
USES = {
    "sacrebleu": scores.signature,
    "safetensors": lambda: PretrainedWeights(path="albert.safetensors").load(GOLDEN),
    "sentencepiece": lambda: PieceModel(b"model", "mine"),
}


@pytest.mark.parametrize(("module", "use"), USES.items())
def test_a_missing_library_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, module: str, use: Callable[[], object]
) -> None:
    fail_import(monkeypatch, module, ModuleNotFoundError(f"No module named '{module}'", name=module))
    with pytest.raises(DataError, match=f"needs {module}, which is not installed: pip install {module}"):
        use()


@pytest.mark.parametrize(("module", "use"), USES.items())
@pytest.mark.parametrize(
    "error", [ImportError("libz.so: cannot open"), ModuleNotFoundError("No module named 'regex'", name="regex")]
)
def test_a_broken_library_shows_why(
    monkeypatch: pytest.MonkeyPatch, module: str, use: Callable[[], object], error: ImportError
) -> None:
    fail_import(monkeypatch, module, error)
    reason = f"which is installed but cannot be imported: {type(error).__name__}: {error}"
    with pytest.raises(DataError, match=f"needs {module}, {reason}"):
        use()

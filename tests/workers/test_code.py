"""The digest of the code that can change a number, and of nothing else."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workers import code
from workers.code import code_digest, digests_of
from workers.config import Program
from workers.optimizers.adam import Adam


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a user's own with a model that imports a helper inside a function."""
    package = tmp_path / "gym"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def scale():\n    return 2\n")
    net = package / "net.py"
    net.write_text(
        '"""A net."""\nfrom dataclasses import dataclass\nfrom typing import TYPE_CHECKING\n\n'
        "@dataclass(frozen=True)\nclass Net:\n"
        '    """Doc."""\n    kind: str = "net"\n\n    def build(self):\n        from gym import helper\n'
        "        return helper.scale()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "gym"]:
        del sys.modules[name]
    code._parsed.cache_clear()


def digest_with(program: Program, package: Path) -> str:
    code._parsed.cache_clear()
    import gym.net

    return code_digest(replace(program, model=gym.net.Net()))


def rewrite(file: Path, *pairs: Any) -> None:
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def test_documentation_is_not_code(plugin: Path, tiny_program: Program) -> None:
    before = digest_with(tiny_program, plugin)
    rewrite(plugin / "net.py", ("A net.", "Another text."), ('"""Doc."""', '"""Says more."""  # a comment'))
    assert digest_with(tiny_program, plugin) == before


def test_what_only_type_checkers_import_is_not_code(plugin: Path, tiny_program: Program) -> None:
    before = digest_with(tiny_program, plugin)
    checked = "import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from gym import helper\n"
    rewrite(plugin / "net.py", ("import TYPE_CHECKING\n", checked))
    assert digest_with(tiny_program, plugin) == before


def test_a_changed_helper_is_other_code(plugin: Path, tiny_program: Program) -> None:
    before = digest_with(tiny_program, plugin)
    rewrite(plugin / "helper.py", ("return 2", "return 3"))
    assert digest_with(tiny_program, plugin) != before


def test_a_helper_may_be_moved_and_imports_reordered(plugin: Path, tiny_program: Program) -> None:
    before = digest_with(tiny_program, plugin)
    (plugin / "helper.py").rename(plugin / "tools.py")
    rewrite(plugin / "net.py", ("from gym import helper", "from gym import tools as helper"))
    rewrite(
        plugin / "net.py",
        ("from dataclasses import dataclass\nfrom typing", "from typing"),
        ("TYPE_CHECKING\n", "TYPE_CHECKING\nfrom dataclasses import dataclass\n"),
    )
    assert digest_with(tiny_program, plugin) == before


def test_another_name_from_the_same_module_is_other_code(plugin: Path, tiny_program: Program) -> None:
    (plugin / "helper.py").write_text("def scale():\n    return 2\n\ndef other():\n    return 3\n")
    rewrite(plugin / "net.py", ("from gym import helper", "from gym.helper import scale"), ("helper.scale", "scale"))
    before = digest_with(tiny_program, plugin)
    rewrite(plugin / "net.py", ("import scale", "import other as scale"))
    assert digest_with(tiny_program, plugin) != before


def test_what_runs_outside_type_checkers_is_code(plugin: Path, tiny_program: Program) -> None:
    seen = [digest_with(tiny_program, plugin)]
    rewrite(
        plugin / "net.py", ("import TYPE_CHECKING\n", "import TYPE_CHECKING\n\nif not TYPE_CHECKING:\n    SCALE = 4\n")
    )
    seen.append(digest_with(tiny_program, plugin))
    rewrite(plugin / "net.py", ("if not TYPE_CHECKING:\n", "if TYPE_CHECKING:\n    pass\nelse:\n"), ("= 4", "= 5"))
    seen.append(digest_with(tiny_program, plugin))
    assert len(set(seen)) == 3


def test_which_of_two_imports_runs_is_code(plugin: Path, tiny_program: Program) -> None:
    (plugin / "helper.py").write_text("def one():\n    return 2\n\ndef other():\n    return 3\n")
    chosen = "if kind:\n            from gym.helper import one as scale\n        else:\n"
    chosen += "            from gym.helper import other as scale"
    rewrite(plugin / "net.py", ("from gym import helper", chosen), ("helper.scale", "scale"))
    before = digest_with(tiny_program, plugin)
    rewrite(
        plugin / "net.py",
        ("import one", "import third"),
        ("import other", "import one"),
        ("import third", "import other"),
    )
    assert digest_with(tiny_program, plugin) != before


def test_modules_that_import_each_other_have_a_digest(plugin: Path, tiny_program: Program) -> None:
    before = digest_with(tiny_program, plugin)
    rewrite(plugin / "helper.py", ("return 2", "from gym import net\n    return 2"))
    assert digest_with(tiny_program, plugin) not in ("", before)


def test_it_is_the_code_that_computes(tiny_program: Program) -> None:
    names = set(digests_of(tiny_program))
    assert {"workers.tasks.classify", "workers.update", "workers.randomness", "workers.ops", "abel.norms"} <= names
    assert {"workers.models.small_cnn", "workers.optimizers.sgd", "workers.data.digits"} <= names
    assert {"workers.networks.small_cnn", "workers.networks.layers", "workers.data.augmentation"} <= names
    assert names.isdisjoint(
        {"workers.cohort", "workers.config", "workers.contracts", "workers.plugins", "abel.schedules"}
    )
    assert {name for name in names if name.startswith("abel")} == code.COMPUTES
    parsed = [code._parsed(name) for name in names if name.startswith("workers")]
    taken = {
        item.module for _, whole, within in parsed for item in (*whole, *(one for place in within for one in place))
    }
    assert {name for name in taken if name.startswith("abel.")} == code.COMPUTES


def test_a_program_depends_on_its_own_variants_alone(tiny_program: Program) -> None:
    names = set(digests_of(tiny_program))
    assert names.isdisjoint({"workers.models.vgg", "workers.optimizers.adam", "workers.data.tfds"})
    assert code_digest(replace(tiny_program, optimizer=Adam())) != code_digest(tiny_program)


@pytest.mark.parametrize(
    "module",
    ["workers.networks.small_cnn", "workers.networks.layers", "workers.tasks.compiled", "workers.data.augmentation"],
)
def test_editing_a_variant_s_late_import_changes_the_digest(
    tiny_program: Program, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    before, parsed = code_digest(tiny_program), code._parsed

    def edited(name: str) -> tuple[Any, ...]:
        text, *imports = parsed(name)
        return f"{text} edited" if name == module else text, *imports

    monkeypatch.setattr(code, "_parsed", edited)
    assert code_digest(tiny_program) != before

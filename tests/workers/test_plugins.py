"""Variants are found through entry points, ours and a user's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from workers import plugins
from workers.models.vgg import Vgg5

GROUP = "abel.models"


@dataclass(frozen=True, kw_only=True)
class Mine:
    kind: str = "mine"


@dataclass
class Thawed:
    kind: str = "thawed"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Replace the installed entry points by (name, value) pairs."""

    def register(*pairs: tuple[str, str]) -> None:
        entries = [EntryPoint(name, value, GROUP) for name, value in pairs]
        monkeypatch.setattr(plugins, "entry_points", lambda: EntryPoints(entries))
        plugins.look_again()

    yield register
    plugins.look_again()


def load(monkeypatch: pytest.MonkeyPatch, target: Any) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: target)


def test_ours_are_registered() -> None:
    assert plugins.find(plugins.MODELS, "vgg5") is Vgg5
    assert list(plugins.variants(plugins.DATA)) == ["atari", "digit_pairs", "digits", "minatar", "tfds"]
    assert list(plugins.variants(plugins.TASKS)) == ["classify", "glue", "masked_lm", "ppo", "translate"]
    assert list(plugins.variants(plugins.OPTIMIZERS)) == [
        "adam",
        "adamw",
        "lamb",
        "lion",
        "optax",
        "schedule_free",
        "sgd",
    ]


def test_a_package_adds_a_variant(registered: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    registered(("mine", "package:Mine"))
    load(monkeypatch, Mine)
    assert plugins.variants(GROUP) == {"mine": Mine}


def test_unknown_names_are_answered_with_the_known_ones(registered: Callable[..., None]) -> None:
    registered(("vgg5", "workers.models.vgg:Vgg5"), ("mine", "package:Mine"))
    with pytest.raises(plugins.PluginError, match=r"'vgg' is not one of abel.models \(known: mine, vgg5\)"):
        plugins.find(GROUP, "vgg")


def test_a_broken_package_harms_only_its_own_name(registered: Callable[..., None]) -> None:
    registered(("broken", "no_such_package:Net"), ("vgg5", "workers.models.vgg:Vgg5"))
    assert plugins.find(GROUP, "vgg5") is Vgg5
    with pytest.raises(plugins.PluginError, match="'broken' .* cannot be imported: No module named 'no_such_package'"):
        plugins.find(GROUP, "broken")


def test_one_name_for_two_classes_is_refused(registered: Callable[..., None]) -> None:
    registered(("vgg5", "workers.models.vgg:Vgg5"), ("vgg5", "other:Vgg5"))
    with pytest.raises(plugins.PluginError, match="'vgg5' is registered twice: workers.models.vgg:Vgg5 and other:Vgg5"):
        plugins.find(GROUP, "vgg5")


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("thawed", Thawed, "must be a frozen dataclass"),
        ("mine", Mine(), "must be a frozen dataclass"),
        ("yours", Mine, "must have kind 'yours', got 'mine'"),
    ],
)
def test_what_is_not_a_variant_is_refused(
    registered: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    target: Any,
    message: str,
) -> None:
    registered((name, "package:thing"))
    load(monkeypatch, target)
    with pytest.raises(plugins.PluginError, match=message):
        plugins.find(GROUP, name)

"""`Program`: everything that determines a trial's states except its schedule, seed and length.

    program = Program(task=Classify(), model=Vgg5(width=16), data=Digits(), optimizer=Sgd(), batch_size=16)
    from_dict(to_dict(program)) == program

Task, model, data and optimiser are tagged variants: frozen dataclasses looked up by their `kind` (`workers.plugins`).
The dictionary form is canonical: every field is present and numbers have their declared type, so equal programs have
equal JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from workers import plugins

if TYPE_CHECKING:
    import optax
    from flax import nnx

    from workers.data import Dataset
    from workers.tasks import Training


class ConfigError(ValueError):
    """An invalid configuration; `faults` lists every fault as "path: rule, got value"."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Variant(Protocol):
    """A frozen dataclass that is looked up by its kind."""

    @property
    def kind(self) -> str:
        """Name of the variant."""

    def __hash__(self) -> int: ...


class Task(Variant, Protocol):
    """A kind of training; `build` binds it to a program and its data."""

    def build(self, program: Program, dataset: Dataset) -> Training:
        """Return the compiled functions for one data set."""


class Model(Variant, Protocol):
    """An architecture."""

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return a module called as `model(images_BHWC, rngs=...) -> logits_BK`; `shape` is (height, width, channels)."""


class Data(Variant, Protocol):
    """A data source."""

    def load(self, data_dir: Path | None) -> Dataset:
        """Return the decoded arrays; raise `DataError` if they cannot be loaded."""


class Optimizer(Variant, Protocol):
    """A rule that turns gradients into steps; the task multiplies the step by the learning rate."""

    def hyper(self) -> dict[str, float]:
        """Return the numbers that are arguments of the compiled epoch, so a grid over them compiles once."""

    def static(self) -> Optimizer:
        """Return this optimiser with the numbers of `hyper` blanked: the part that the compiled epoch depends on."""

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate, with the (traced) numbers of `hyper`."""


def require(holds: bool, name: str, rule: str, value: object) -> None:
    """Raise ValueError unless a rule holds: "width must be at least 1, got 0"."""
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random augmentation of each training image, drawn again every epoch and applied in this order."""

    flip: bool = False  # left to right, with probability 1/2
    crop: int = 0  # pixels: shift by up to this much in both axes, filled by reflection
    roll: int = 0  # pixels: cyclic shift by up to this much in both axes
    noise: float = 0.0  # standard deviation of Gaussian noise added to the standardised pixels

    def __post_init__(self) -> None:
        require(self.crop >= 0, "crop", "be at least 0", self.crop)
        require(self.roll >= 0, "roll", "be at least 0", self.roll)
        require(math.isfinite(self.noise) and self.noise >= 0, "noise", "be finite and at least 0", self.noise)


@dataclass(frozen=True, kw_only=True)
class Program:
    """Task, model, data, optimiser and their settings; the schedule supplies the learning rates."""

    task: Task = field(metadata={"group": plugins.TASKS})
    model: Model = field(metadata={"group": plugins.MODELS})
    data: Data = field(metadata={"group": plugins.DATA})
    optimizer: Optimizer = field(metadata={"group": plugins.OPTIMIZERS})
    augment: Augment = Augment()
    l2: float = 0.0  # 0.5 * l2 * sum(w**2) over all parameters is added to the loss
    batch_size: int
    clip: float | None = None  # maximum global norm of a gradient, including the penalty's part

    def __post_init__(self) -> None:
        require(math.isfinite(self.l2) and self.l2 >= 0, "l2", "be finite and at least 0", self.l2)
        require(self.batch_size >= 1, "batch_size", "be at least 1", self.batch_size)
        if self.clip is not None:
            require(math.isfinite(self.clip) and self.clip > 0, "clip", "be finite and above 0, or null", self.clip)


def to_dict(program: Program) -> dict[str, Any]:
    """Return the canonical dictionary of a program: JSON types only."""
    return _encode(program)


def from_dict(values: Mapping[str, Any]) -> Program:
    """Return the program of a dictionary; missing fields take their defaults.

    Raises:
        ConfigError: a field is unknown, missing without a default, or invalid.
    """
    faults: list[str] = []
    program = _decode_fields(Program, values, "", faults)
    if faults:
        raise ConfigError(faults)
    assert isinstance(program, Program)
    return program


def _encode(value: Any) -> dict[str, Any]:
    hints = get_type_hints(type(value), localns=_PROTOCOLS)
    return {item.name: _encode_value(getattr(value, item.name), hints[item.name]) for item in fields(value)}


def _encode_value(value: Any, hint: Any) -> Any:
    if is_dataclass(value):
        return _encode(value)
    if isinstance(value, tuple):
        return list(value)
    wants_float = float in (hint, *get_args(hint))
    return float(value) + 0.0 if wants_float and value is not None else value  # -0.0 and 0 become 0.0


def _decode_fields(cls: type[Any], values: Any, path: str, faults: list[str]) -> Any:
    """Return an instance of a dataclass, or None after adding to `faults`."""
    if not isinstance(values, Mapping):
        faults.append(f"{path or 'program'}: must be a mapping, got {values!r}")
        return None
    prefix = f"{path}." if path else ""
    known = {item.name: item for item in fields(cls)}
    before = len(faults)
    for name in values:
        if name not in known:
            faults.append(f"{prefix}{name}: unknown key (known: {', '.join(known)})")
    hints = get_type_hints(cls, localns=_PROTOCOLS)
    arguments: dict[str, Any] = {}
    for name, item in known.items():
        if name in values:
            arguments[name] = _decode_field(item, hints[name], values[name], f"{prefix}{name}", faults)
        elif item.default is MISSING and item.default_factory is MISSING:
            faults.append(f"{prefix}{name}: is missing")
    if len(faults) > before:
        return None
    try:
        return cls(**arguments)
    except ValueError as error:
        faults.append(f"{path}: {error}" if path else str(error))
        return None


def _decode_field(item: Field[Any], hint: Any, value: Any, path: str, faults: list[str]) -> Any:
    if group := item.metadata.get("group"):
        return _decode_variant(group, value, path, faults)
    if is_dataclass(hint):
        return _decode_fields(hint, value, path, faults)  # type: ignore[arg-type]
    try:
        return _decode_value(hint, value)
    except ValueError as error:
        faults.append(f"{path}: must be {error}, got {value!r}")
        return None


def _decode_variant(group: str, value: Any, path: str, faults: list[str]) -> Any:
    """Return a tagged variant; a bare string is a kind with all defaults."""
    values = {"kind": value} if isinstance(value, str) else value
    if not isinstance(values, Mapping) or not isinstance(values.get("kind"), str):
        faults.append(f"{path}: must be a mapping with a kind, got {value!r}")
        return None
    try:
        variant = plugins.find(group, values["kind"])
    except plugins.PluginError as error:
        faults.append(f"{path}.kind: {error}")
        return None
    return _decode_fields(variant, values, path, faults)


def _decode_value(hint: Any, value: Any) -> Any:
    """Return a scalar or tuple of the declared type; raise ValueError with the expected type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType) and NoneType in arguments:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _decode_value(inner, value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError("one of " + ", ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value) + 0.0
    if hint is int and is_number and float(value).is_integer():
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise ValueError({float: "a number", int: "a whole number", bool: "true or false", str: "text"}[hint])


def _decode_tuple(arguments: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    open_ended = arguments[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (open_ended or len(value) == len(arguments)):
        raise ValueError("a list" if open_ended else f"a list of {len(arguments)}")
    kinds = arguments[:1] * len(value) if open_ended else arguments
    return tuple(_decode_value(kind, item) for kind, item in zip(kinds, value, strict=True))


_PROTOCOLS = {"Task": Task, "Model": Model, "Data": Data, "Optimizer": Optimizer}

"""Any optimiser of optax, by its name: `{kind: optax, name: adagrad, options: {eps: 1.0e-7}}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from workers.config import require
from workers.optimizers.rules import BLANK

if TYPE_CHECKING:
    import optax

Option = bool | int | float | str | None
_PREFIX = "options."  # of the numbers among the arguments of the compiled epoch


@dataclass(frozen=True, kw_only=True)
class Optax:
    """An optimiser of optax whose step is proportional to its learning rate, which the schedule supplies."""

    kind: Literal["optax"] = "optax"
    name: str  # a function of optax or optax.contrib, such as adagrad or contrib.muon
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)  # its arguments, without the learning rate

    def __post_init__(self) -> None:
        from workers.optimizers import optax_lookup

        parameters = optax_lookup.parameters(self.name)
        require(parameters is not None, "name", "be an optimiser of optax", self.name)
        strange = [name for name in self.options if name not in (parameters or ())]
        known = f"be arguments of optax.{self.name} ({', '.join(sorted(parameters or ()))})"
        require(not strange, "options", f"{known}, not {', '.join(strange)}", dict(self.options))

    def hyper(self) -> dict[str, float]:
        """Return the numbers that a grid may vary without recompiling: the floats, if optax takes them as arrays.

        Raises:
            ValueError: optax cannot take a step with these options, or the step is not proportional to the learning rate. It is
                tried here and not earlier, as it starts JAX on a device, which only workers may do.
        """
        from workers.optimizers import optax_lookup

        options = tuple(sorted(self.options.items()))
        fault = optax_lookup.fault(self.name, options)
        if fault is not None:
            raise ValueError(f"optimizer: optax.{self.name} cannot be used with the options {dict(options)}: {fault}")
        floats = {name: value for name, value in self.options.items() if isinstance(value, float)}
        traced = floats and optax_lookup.takes_arrays(self.name, options, tuple(floats))
        return {_PREFIX + name: value for name, value in floats.items()} if traced else {}

    def static(self) -> Optax:
        """Return the part that the compiled epoch depends on."""
        blank = {name.removeprefix(_PREFIX): BLANK for name in self.hyper()}
        return replace(self, options={**self.options, **blank})

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        from workers.optimizers import optax_lookup

        given = {name.removeprefix(_PREFIX): value for name, value in hyper.items() if name.startswith(_PREFIX)}
        return optax_lookup.rule_named(self.name, {**self.options, **given})

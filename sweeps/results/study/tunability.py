"""Tunability of an arm: what choosing the best setting gains over the setting that its spec writes down."""

from collections.abc import Mapping
from typing import Any

from sweeps.results.grids import Grid
from sweeps.results.measures import bands, within_bounds
from sweeps.results.study.scores import trained_rows
from sweeps.results.values import Interval, Scalar
from sweeps.results.wording import setting as in_short
from sweeps.spec.grid import spelled
from sweeps.spec.trial import trained_as

_ABSENT = object()


def default_row(table: Grid, spec: Mapping[str, Any], arm: str) -> int:
    """Return the row of the setting that a spec writes in the arm's own schedule and program, beside its grid.

    Raises:
        ValueError: the spec leaves out a field of the grid, or the grid lacks the setting.
    """
    known = spec["arms"][arm]
    written = {"schedule": known.get("schedule"), "program": {**spec.get("program", {}), **known.get("program", {})}}
    default: dict[str, Scalar] = {}
    for name, _ in table.settings[0]:
        value = _at(written, name)
        if value is _ABSENT:
            raise ValueError(f"the spec gives no value of {name} beside the grid")
        default[name] = spelled(value)
    row = trained_rows(table).get(trained_as(default))
    if row is None:
        raise ValueError(f"the default must be among the settings, but {in_short(default)} is not")
    return row


def tunability(table: Grid, default: int) -> Interval:
    """Return the error of a setting, given by its row, minus the error of the best setting, in points.

    Source: Probst, Boulesteix, Bischl, JMLR 20 (2019), section 3.3. Means are shrunk and bounds hold for all settings at once,
    as for `spread`: the best setting is not known, only its estimate.
    """
    known = bands(table.errors)
    low, high = (bound[default].max() for bound in known.above)
    return within_bounds(known.means[default] - known.means.min(), low, high)


def _at(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or `_ABSENT`."""
    value: Any = document
    for part in path.split("."):
        value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value

"""Metrics of epochs, to be compared bit for bit."""

from collections.abc import Iterable, Mapping

from workers.reports import Record

MOVING = ("seconds", "examples_per_second")  # measured times differ from run to run


def bits(metrics: Mapping[str, float]) -> dict[str, str]:
    """An epoch's metrics except measured times; NaN equals NaN in hex."""
    return {name: value.hex() for name, value in metrics.items() if name not in MOVING}


def bits_of(reports: Iterable[object]) -> list[dict[str, str]]:
    """The metrics of each record among a cohort's reports."""
    return [bits(report.metrics) for report in reports if isinstance(report, Record)]

"""What the public ports do on a trace, by plain transcriptions of their rules; the table of the page is computed here."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from abel.plans import Event, Observation
from abel.schedules import Abel, replay

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "library.md").read_text()


class Row(NamedTuple):
    port: str
    epochs: list[list[list[float]]]  # epochs, looks in an epoch, tensors: squared norms
    last: int | None
    algorithm_1: list[int]
    others: list[int]


def rows() -> Iterator[Row]:
    port = ""
    for line in PAGE.split("## The public ports")[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and not set(line) <= set("|-") and cells[0] != "port":
            port = re.split(r"[ ,]", cells[0])[0] or port
            trace, _, last = cells[2].partition(", last ")
            epochs = [[_tensors(look) for look in epoch.split("→")] for epoch in trace.split()]
            yield Row(port, epochs, int(last) if last else None, _epochs(cells[3]), _epochs(cells[4]))


def _tensors(look: str) -> list[float]:
    """Squared norms: of the whole where there is one number, else the numbers are the norms of the tensors."""
    numbers = [float(number) for number in look.split("+")]
    return numbers if len(numbers) == 1 else [number**2 for number in numbers]


def _epochs(cell: str) -> list[int]:
    return [] if cell == "none" else [int(epoch) for epoch in cell.split(", ")]


def turns(newest: float, before: float, earlier: float) -> bool:
    return (newest - before) * (before - earlier) < 0


def zhengtq(row: Row) -> Iterator[int]:
    """Each look is one at 200, 400, … steps; the last decay epoch is compared before the norms are."""
    seen: list[float] = []
    for epoch, looks in enumerate(row.epochs, start=1):
        for tensors in looks:
            if row.last is not None and epoch > row.last:
                yield epoch
                continue
            seen = [*seen[-2:], sum(tensors)]
            if len(seen) == 3 and turns(*seen[::-1]) and seen[1] > seen[2]:
                yield epoch


def moskomule(row: Row) -> Iterator[int]:
    """The first of the norms is the one that the constructor takes."""
    seen: list[float] = []
    reached_minimum = False
    for epoch, (*_, tensors) in enumerate(row.epochs, start=1):
        seen.append(sum(map(math.sqrt, tensors)))
        if len(seen) > 3 and turns(*seen[:-4:-1]):
            if reached_minimum:
                yield epoch
            reached_minimum = not reached_minimum


def vballoli(row: Row) -> Iterator[int]:
    """`get_lr`, which `step()` calls, multiplies without a look at the norm."""
    yield from range(1, len(row.epochs) + 1)


def lessw2020(row: Row) -> Iterator[int]:
    """With one step an epoch, which is the fewest that it can add up."""
    added, seen, reached_minimum = 0.0, [], False
    for epoch, (*_, tensors) in enumerate(row.epochs, start=1):
        added += sum(map(math.sqrt, tensors))
        seen.append(added)
        if len(seen) >= 3 and turns(*seen[:-4:-1]):
            if reached_minimum:
                yield epoch
            reached_minimum = not reached_minimum


PORTS: dict[str, Callable[[Row], Iterator[int]]] = {
    "Zhengtq/How-to-decay-your-learning-rate": zhengtq,
    "moskomule/abel.pytorch": moskomule,
    "vballoli/abel-pytorch": vballoli,
    "lessw2020/Ranger21": lessw2020,
}


def test_the_table_has_every_port() -> None:
    assert {row.port for row in rows()} == PORTS.keys()


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.port}-{row.others}")
def test_a_row_of_the_table_is_what_comes_out(row: Any) -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=row.last)
    states = replay(schedule, [Observation(sum(epoch[-1]), train_loss=0.0) for epoch in row.epochs])
    assert [state.epoch for state in states if state.event & (Event.DECAY | Event.LAST_DECAY)] == row.algorithm_1
    assert list(PORTS[row.port](row)) == row.others
    assert row.others != row.algorithm_1, "the row shows no difference"


def test_the_transcriptions_agree_with_the_paper_where_the_ports_do(traces: Any) -> None:
    """A bounce or two, seen with four norms and without a last decay."""
    for trace in traces[:2]:
        row = Row("", [[[norm]] for norm in trace.norms], None, [], [])
        assert list(zhengtq(row)) == list(moskomule(row)) == list(trace.decays)

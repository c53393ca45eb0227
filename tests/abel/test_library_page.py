"""The page of the library: its code runs, block after block, and does what the page says."""

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from abel.plans import Event, Observation
from abel.schedules import Abel, replay

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's names stand for when a reader has run all of it."""
    found: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS):
        if block.startswith(">>>"):
            examples = doctest.DocTestParser().get_doctest(block, found, f"block {number}", None, None)
            assert doctest.DocTestRunner().run(examples, clear_globs=False).failed == 0
            found |= examples.globs
        else:
            exec(compile(block, f"library.md, block {number}", "exec"), found)
    return found


def test_every_block_runs(names: dict[str, Any]) -> None:
    assert len(BLOCKS) == PAGE.count("```python") == PAGE.count("```") / 2
    assert {"abel", "callback", "model", "optimizer", "decays", "stepwise"} <= names.keys()


def test_the_network_bounces_as_the_page_says(names: dict[str, Any]) -> None:
    seen = []

    class Listener(names["AbelCallback"]):
        def on_epoch_end(self, trainer: Any) -> None:
            super().on_epoch_end(trainer)
            seen.append(self.state)

    names["Trainer"](names["params"], Listener(names["callback"].schedule, 160, 16)).train(names["EPOCHS"])
    minimum, decay, last = (
        next(state.epoch for state in seen if state.event & event)
        for event in (Event.MINIMUM, Event.DECAY, Event.LAST_DECAY)
    )
    said = re.search(
        r"minimum after epoch (\d+) and\s+decays after epoch (\d+), before the last decay after (\d+)", PAGE
    )
    # Another processor's rounding may move a turn of the norm by an epoch or two.
    assert [minimum, decay, last] == pytest.approx([int(epoch) for epoch in said.groups()], abs=3)
    assert minimum < decay < last == 34


def test_the_loops_agree(names: dict[str, Any]) -> None:
    """The plain loop no longer sees the end of the last epoch."""
    outside, inside = names["callback"].state, names["state"][-1]
    assert int(inside.decays) >= 2 <= outside.decays
    assert int(inside.epoch) == names["EPOCHS"] - 1 == outside.epoch - 1
    assert float(inside.weight_norm_sq) == pytest.approx(outside.bounce.before_previous, rel=0.05)


def test_the_algorithm_on_the_page_is_ours(trace: Any) -> None:
    """The indented lines are Python but for their typography."""
    listing = "\n".join(re.findall(r"^    (if .*|    .*|else:.*)$", PAGE.split("```")[0], re.MULTILINE))
    for symbol, name in (("|w_t-1|²", "before"), ("|w_t-2|²", "earlier"), ("|w_t|²", "now"), (";  ", "; ")):
        listing = listing.replace(symbol, name)
    state = {"reached_minimum": False, "learning_rate": 1.0, "decay_factor": 0.5, "last_decay_epoch": 6}
    rates = []
    for t, now in enumerate(trace.norms, start=1):
        if t >= 3:
            state |= {"now": now, "before": trace.norms[t - 2], "earlier": trace.norms[t - 3], "t": t}
            exec(listing, {}, state)
        rates.append(state["learning_rate"])
    schedule = Abel(learning_rate=1.0, decay_factor=0.5, last_decay_epoch=6)
    states = replay(schedule, [Observation(norm, 0.0) for norm in trace.norms])[1:]
    assert rates == [0.5**each.decays for each in states]

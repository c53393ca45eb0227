"""Tests for `sweeps/results/claims/decay_time.py`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from services.report.findings import unheard
from sweeps.results.claims.decay_time import decay_time
from sweeps.results.frames import CURVE_COLUMNS, Frames
from sweeps.results.values import Chance


def trial(kind: str, seed: int, error: float, epoch: int | None = None, **more: Any) -> dict[str, Any]:
    settings = {} if epoch is None else {"schedule.decay_epoch": epoch}
    plain = {"arm": kind, "kind": kind, "seed": seed, "outcome": "finished", "settings": settings, "epoch": 3}
    decays = {"bounce_epochs": (), "forced_epochs": ()}
    name = f"{kind} {epoch} seed={seed}"
    return plain | decays | {"trial_id": name, "name": name, "minimum_error": error} | more


def frames(rows: Sequence[Mapping[str, Any]]) -> Frames:
    norms = [
        (row["trial_id"], row["arm"], row["seed"], epoch, "weight_norm_sq", 10.0 * row["seed"] + epoch)
        for row in rows
        for epoch in (1, 2, 3)
    ]
    curves = pd.DataFrame(norms, columns=list(CURVE_COLUMNS))
    return Frames(trials=pd.DataFrame(list(rows)), curves=curves)


GRID = [trial("decay_at", seed, error, epoch) for epoch, errors in {2: (50, 54), 10: (30, 31), 20: (20, 22)}.items()
        for seed, error in enumerate(errors)]  # fmt: skip
CONSTANT = [trial("constant", 0, 25.0), trial("constant", 1, 27.0)]
ABEL = [trial("abel", 0, 21.0, bounce_epochs=(9, 15)), trial("abel", 1, 22.0, bounce_epochs=(12,), forced_epochs=(18,))]


def test_after_the_bounce_is_the_first_grid_epoch_before_no_seeds_first_decay_by_abel() -> None:
    numbers = decay_time(frames(GRID + CONSTANT + ABEL))
    assert numbers is not None and numbers.paired is not None
    pair = numbers.paired
    assert (pair.earlier, pair.later) == (2, 20)
    assert pair.means == (52, 21)
    assert pair.cost.value == 31 and 0 < pair.cost.low < 31 < pair.cost.high < 100
    assert set(numbers.costs) == {2, 10} and numbers.costs[2] == pair.cost
    assert numbers.costs[10].value == 9.5
    mean_before_it = [trial("abel", 0, 21.0, bounce_epochs=(5,)), trial("abel", 1, 22.0, bounce_epochs=(13,))]
    one_later = decay_time(frames(GRID + mean_before_it))
    assert one_later is not None and one_later.paired is not None and one_later.paired.later == 20
    on_it = decay_time(frames(GRID + [trial("abel", 0, 21.0, bounce_epochs=(10,))]))
    assert on_it is not None and on_it.paired is not None and on_it.paired.later == 10


def test_norms_and_errors_are_by_seed() -> None:
    numbers = decay_time(frames(GRID + CONSTANT + ABEL))
    assert numbers is not None
    assert numbers.norm.to_dict() == {0: {1: 1, 2: 2, 3: 3}, 1: {1: 11, 2: 12, 3: 13}}
    assert (numbers.constant, numbers.abel) == ({0: 25, 1: 27}, {0: 21, 1: 22})
    assert numbers.forced_epochs == {0: (), 1: (18,)}


def test_trials_that_did_not_finish_are_left_out_and_named() -> None:
    broken = [replace_outcome(row, "diverged") if row["seed"] == 1 else row for row in GRID]
    shown = frames([*broken, *ABEL, replace_outcome(CONSTANT[0], "failed")])
    numbers = decay_time(shown)
    assert numbers is not None and numbers.paired is not None
    diverged, failed = unheard(shown)
    assert failed == "1 trial did not finish and is left out: constant None seed=0 (failed)."
    assert diverged.startswith(
        "3 trials diverged: decay_at 2 seed=1, decay_at 10 seed=1, decay_at 20 seed=1. A diverged trial counts as guessing"
    )
    assert diverged.endswith("They are left out, and so are the measures of such arms.")
    assert numbers.paired.errors == {0: (50, 20)}
    assert math.isnan(numbers.paired.cost.low)


def test_a_diverged_trial_counts_as_guessing() -> None:
    shown = frames([*(replace_outcome(row, "diverged") if row["seed"] == 1 else row for row in GRID), *CONSTANT, *ABEL])
    numbers = decay_time(shown, 90.0)
    assert numbers is not None and numbers.paired is not None
    assert numbers.paired.errors == {0: (50, 20), 1: (90, 90)}
    (said,) = unheard(shown, 90.0)
    assert said.endswith("They count as guessing, 90 % test error, wherever errors are averaged or compared.")
    (name,) = shown.trials.loc[shown.trials["outcome"] == "diverged", "name"].tolist()[:1]
    (said,) = unheard(replace(shown, chance=Chance(guesses={name: 60.0})), 90.0)
    assert "They count as guessing, 60 or 90 % test error" in said, "on the data of each"
    known, unknown = unheard(replace(shown, chance=Chance(guesses={name: 60.0})))
    assert (
        known
        == f"1 trial diverged: {name}. It counts as guessing, 60 % test error, wherever errors are averaged or compared."
    )
    assert unknown.startswith("2 trials diverged: ") and name not in unknown
    assert unknown.endswith("They are left out, and so are the measures of such arms.")


def replace_outcome(row: Mapping[str, Any], outcome: str) -> dict[str, Any]:
    return dict(row) | {"outcome": outcome}


def test_equal_differences_say_nothing_of_the_noise() -> None:
    numbers = decay_time(frames(GRID + ABEL))
    assert numbers is not None and numbers.paired is not None
    assert math.isnan(replace(numbers.paired, errors={0: (3.0, 1.0), 1: (4.0, 2.0)}).cost.low)


@pytest.mark.parametrize(
    ("abel", "why"),
    [
        ([], "no finished ABEL trial"),
        ([trial("abel", 0, 21.0, forced_epochs=(18,))], "the norm did not bounce"),
        ([trial("abel", 0, 21.0, bounce_epochs=(21,))], "no decay epoch at or after ABEL's first bounce decays"),
        ([trial("abel", 0, 21.0, bounce_epochs=(1,))], "is already after the bounce"),
    ],
)
def test_where_there_is_no_pair_it_says_why(abel: list[dict[str, Any]], why: str) -> None:
    numbers = decay_time(frames(GRID + abel))
    assert numbers is not None and numbers.paired is None
    assert why in numbers.no_pair


def test_other_sweeps_are_none_of_its_business() -> None:
    assert decay_time(frames(CONSTANT + ABEL)) is None
    for extra in (trial("abel", 0, 55.0, arm="abel-window"), trial("constant", 0, 30.0, arm="faster")):
        assert decay_time(frames([*GRID, *CONSTANT, *ABEL, extra])) is None
    more = [row | {"settings": row["settings"] | {"program.l2": 0.1}} for row in GRID]
    assert decay_time(frames(more)) is None

"""Table S1: the best setting of each schedule and task, and their average, beside the paper's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from evidences import RATE, evidence, trial

from services.report.exhibits import Exhibit, exhibit, missing
from services.report.themes import png
from sweeps.results.frames import Frames
from sweeps.results.tables.best_scores import AVERAGE, best_scores
from workers.contracts import Metric

METRIC = Metric(name="glue_score", label="GLUE score", unit="%", higher_is_better=True, worst=0.0)
ERRORS = {
    "linear": {"SST-2": (30.0, 10.0), "RTE": (40.0, 45.0)},
    "simple": {"SST-2": (12.0, 20.0), "RTE": (50.0, 41.0)},
}
REPORTED = {"linear": {"SST-2": 7.2, "RTE": 29.2}, "simple": {"SST-2": 7.9, "RTE": 26.7}}
RATES = (1e-5, 2e-5)


def table_s1(seeds: Sequence[int] = (0, 1, 2), **more: Any) -> Frames:
    rows, arms = [], {}
    for kind, by_task in ERRORS.items():
        for task, errors in by_task.items():
            arm = f"{task.lower()}-{kind}"
            arms[arm] = {"row": task, "reported": REPORTED[kind][task]}
            for rate, error in zip(RATES, errors, strict=True):
                rows += [trial(arm, seed, (60.0, error + seed), {RATE: rate}, kind=kind) for seed in seeds]
    found = evidence(rows, spec={"figure": "best_scores", "arms": arms, **more}).frames
    return replace(found, metric=METRIC)


def shown(frames: Frames) -> Exhibit:
    found = exhibit(frames, 100.0)
    assert found is not None
    return found


def test_each_score_is_that_of_the_best_rate_and_the_average_is_over_tasks() -> None:
    table = best_scores(table_s1(), 100.0)
    assert table is not None
    assert (table.label, table.columns) == ("GLUE score (%)", ("SST-2", "RTE", AVERAGE))
    linear, simple = table.rows["linear"], table.rows["simple"]
    assert [linear[task].found.value for task in table.columns] == pytest.approx([89.0, 59.0, 74.0])
    assert [simple[task].setting for task in table.columns] == ["learning_rate=1e-05", "learning_rate=2e-05", ""]
    assert linear["SST-2"].reported == pytest.approx(92.8)
    assert linear[AVERAGE].reported == pytest.approx((92.8 + 70.8) / 2)
    assert linear[AVERAGE].found.low < 74.0 < linear[AVERAGE].found.high


def test_the_figure_and_its_findings_have_every_number() -> None:
    found = shown(table_s1())
    drawn = found.draw(title="Table S1")
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts[:4] == ["", "SST-2", "RTE", AVERAGE]
    assert {"linear", "simple", "89.0", "59.0", "2e-05", "linear, the paper", "92.8"} <= set(texts)
    assert png(drawn).startswith(b"\x89PNG")
    sst2, rte, average = found.findings
    assert sst2.startswith("SST-2: linear 89.0 % (") and "at learning_rate=2e-05, in the paper 92.8 %; simple" in sst2
    assert rte.startswith("RTE: linear 59.0 %") and average.startswith("average: linear 74.0 % (")


def test_one_seed_has_no_interval_and_one_task_no_average() -> None:
    frames = table_s1(seeds=(0,))
    one = replace(frames, trials=frames.trials[frames.trials["arm"].str.startswith("sst-2")])
    texts = [text.get_text() for text in shown(one).draw().axes[0].texts]
    assert "95 % interval" not in texts and AVERAGE not in texts


def test_a_setting_that_lacks_seeds_does_not_compete_and_diverged_trials_count() -> None:
    frames = table_s1()
    best = (frames.trials["arm"] == "sst-2-linear") & (frames.trials["final_error"] < 13)
    lacking = replace(frames, trials=frames.trials[~(best & (frames.trials["seed"] == 2))])
    table = best_scores(lacking, 100.0)
    assert table is not None and table.rows["linear"]["SST-2"].found.value == pytest.approx(69.0)
    trials = frames.trials.assign(
        outcome=frames.trials["outcome"].mask(best & (frames.trials["seed"] == 2), "diverged")
    )
    table = best_scores(replace(frames, trials=trials), 100.0)
    assert table is not None and table.rows["linear"]["SST-2"].found.value == pytest.approx(69.0)


def test_without_finished_trials_the_figure_is_missing() -> None:
    frames = table_s1()
    nothing = replace(frames, trials=frames.trials.assign(outcome="failed"))
    assert exhibit(nothing, 100.0) is None
    assert missing(nothing, 100.0).startswith("There is no figure best_scores: it needs finished trials of any arm")

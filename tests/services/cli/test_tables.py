"""Tests for `services/cli/tables.py` and the tables that the modules beside it draw, with snapshots of these.

`pytest tests/services/cli/test_tables.py --snapshot-update` keeps what is shown now.
"""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from services.cli import rendering, rendering_sweeps, rendering_upkeep, verdicts
from services.cli.service import rendering_submissions
from services.schemas import (
    ArmPlan,
    CatalogEntry,
    Checked,
    DataReport,
    DataSources,
    Incident,
    Plan,
    Plugin,
    RunResult,
    SweepDetail,
    SweepOverview,
    Tracked,
    Validation,
)
from services.server.values import Submitted
from services.upkeep import Adopted, Collected, Mended, Pruned, Repaired
from sweeps.results.values import ArmSummary, Finding, Interval, Power, TrialResult, Verdict

ARM = "abel-of-a-long-name"
SETTINGS = {"schedule.decay_factor": 0.30000000000000004, "schedule.learning_rate": 0.125}
SWEEP = SweepOverview(
    id="9817a29817cd",
    name="fig-s6a-of-a-long-name",
    status="interrupted",
    sharing=False,
    created_ms=0,
    trials=12345,
    ended=12345,
    diverged=1,
    failed=22,
    cancelled=333,
    stopped=4444,
    covered=1234567,
    total=1234568,
    trained=654321,
    replayed=7,
)
SUMMARY = ArmSummary(
    arm=ARM,
    kind="abel",
    trials=8,
    ended=8,
    diverged=0,
    failed=0,
    cancelled=2,
    stopped=0,
    seeds=3,
    settings=SETTINGS,
    minimum_error=77.33,
    final_error=78.31,
    final_sd=10.25,
    decays=((24, 34), (18, 34), (21, 34)),
)
TRIAL = TrialResult(
    name=f"{ARM} decay_factor=0.30000000000000004 learning_rate=0.125 seed=1234",
    arm=ARM,
    seed=1234,
    settings=SETTINGS,
    status="cancelled",
    epoch=119,
    epochs=120,
    minimum_error=77.33,
    final_error=78.31,
    selected_error=None,
    decays=(24, 34, 55),
    error=None,
    failure=None,
    attempts=0,
)
DETAIL = SweepDetail(sweep=SWEEP, arms=(SUMMARY,), trials=(TRIAL,), incidents=(), lacking=0, error="test error")
PLAN = Plan(
    name="mine",
    title="A sweep",
    trials=12345,
    arms=(ArmPlan(arm=ARM, trials=12345, epochs_naive=1234567, epochs_shared=(654321, 765432)),),
    epochs_naive=1234567,
    epochs_shared=(654321, 765432),
    epochs_known=0,
    epochs_remaining=(654321, 765432),
    reason="no sweep was run here yet",
    workers=2,
    seconds=(7260.0, 9999.0),
    start_seconds=20.0,
    basis="0.014 s per epoch, measured here",
)
FINDING = Finding(
    arm=ARM,
    what="spread",
    verdict=Verdict.CANNOT_TELL,
    why="too few seeds",
    before=Interval(77.33, 70.01, 88.88),
    after=Interval(78.31, 71.01, 89.99),
    change=Interval(0.98, -10.25, 12.25),
    limit=1.5,
)
CHECKED = Checked(
    metric="test error",
    sweep="mine",
    id="x",
    baseline="b.json",
    error="minimum",
    verdict=Verdict.CANNOT_TELL,
    findings=(FINDING,),
)
POWER = Power(arm=ARM, measure="spread", margin=1.5, rows=((10, 1.75, dict.fromkeys(Verdict, 0.33)),))
SUBMITTED = Submitted(
    id="9817a29817cd",
    owner="somebody-of-a-long-name",
    name=SWEEP.name,
    title="A sweep",
    phase="running",
    wanted="running",
    priority=0,
    created_ms=0,
    sweep_id=SWEEP.id,
    workers=2,
    launches=1,
    why="waits for a free slot of its owner, who may have 2 sweeps at once",
    sweep=SWEEP,
    best=77.33,
)
WAITING = replace(SUBMITTED, id="0f1e2d3c4b5a", owner="ada", name="mine", phase="queued", sweep=None, best=None)
KIND = "a_source_of_a_plug_in_with_a_long_name"
INCIDENT = Incident(
    kind="infrastructure",
    text="ActorDiedError: the process of the worker was killed by signal 9",
    times=1234,
    retried=1230,
    trials=12345,
    last_trial=TRIAL.name,
    last_epoch=119,
    last_ms=0,
)
SHOWN = {
    "plan": (rendering.plan_facts(PLAN), [ARM, "12345", "1,234,567", "654,321", "765,432", "38%", "47%"]),
    "status": (
        rendering_sweeps.overview_table([SWEEP]),
        [SWEEP.name, SWEEP.id, "11990/12345", "1234567/1234568", "654321"],
    ),
    "list": (
        rendering_submissions.submissions_table([SUBMITTED, WAITING]),
        [SWEEP.name, SUBMITTED.id, SUBMITTED.owner, "77.33 %", "12345/12345", "1234567/1234568", WAITING.id],
    ),
    "detail": (
        rendering_sweeps.sweep_detail(DETAIL),
        [ARM, "6/8", "2 cancelled", "77.33", "78.31 ± 10.25", "24,", "18,", "34"],
    ),
    "trials": (
        rendering_sweeps.trials_table(DETAIL),
        [ARM, "seed=1234", "119/120", "77.33", "78.31", "24,", "34,", "55"],
    ),
    "gc": (
        rendering.collected(
            Collected(
                dry_run=True, groups=(Pruned(what="last of a trial", kept=True, count=1234567, bytes=1),), freed=0
            )
        ),
        ["1,234,567", "last of a"],
    ),
    "check": (verdicts.terminal(CHECKED), [ARM, "77.33", "78.31", "+0.98", "(-10.25,", "12.25)", "1.5"]),
    "power": (verdicts.powers([POWER]), ["10", "1.75", "33%"]),
    "validate": (
        rendering.valid_spec(
            Validation(name="mine", title="", trials=3, arms={ARM: 3}, seeds=(0,), epochs=4, epochs_naive=12)
        ),
        [ARM],
    ),
    "catalog": (
        rendering.catalog_table({"Images": [CatalogEntry(name=KIND, title="On 19,548 images", claim="", cost="")]}),
        [KIND, "19,548"],
    ),
    "data": (rendering.data_sources(DataSources(kinds={KIND: "What it is"}, data_dir=None, prepared=())), [KIND]),
    "data check": (
        rendering.data_report(
            DataReport(name="d", train_examples=1297, test_examples=500, shape=(8, 8, 1), classes=10, digest="ab" * 32)
        ),
        ["1297", "ab" * 8],
    ),
    "run": (
        rendering_sweeps.run_result(
            RunResult(
                outcome="interrupted",
                trained=654321,
                replayed=7,
                seconds={"wall": 7260.0},
                error=None,
                tracking=None,
                detail=DETAIL,
            ),
            f"abel run {SWEEP.name}",
        ),
        [SWEEP.name, "654321", ARM, "6/8", "77.33", "78.31 ± 10.25"],
    ),
    "incidents": (rendering_sweeps.incidents_table([INCIDENT]), ["infrastructure", "1234×", "1230×", "12344", "119"]),
    "plugins": (
        rendering.plugins_table(
            [Plugin(part="data", kind=KIND, source="theirs 1.2.3", where="theirs.data:Theirs", about="It.", fault=None)]
        ),
        [KIND, "theirs 1.2.3"],
    ),
    "repair": (
        rendering_upkeep.repaired(
            Repaired(
                dry_run=False,
                kept=Path("/homes/ada/abel/ledger.db.damaged-2026-11-30"),
                mended=(
                    Mended(sweep=SWEEP.name, what=f"trial {TRIAL.name!r}", how="restored from the spec", restored=True),
                ),
            )
        ),
        [SWEEP.name, ARM, "seed=1234"],
    ),
    "adopt": (
        rendering_upkeep.adopted(
            Adopted(
                sweep=SWEEP.name, sweep_id=SWEEP.id, outcome="adopted", epochs=654321, checkpoints=12345, replayed=8
            )
        ),
        [SWEEP.name, SWEEP.id, "654,321", "12,345"],
    ),
    "track": (
        rendering_sweeps.tracked(
            [Tracked(id=SWEEP.id, name=SWEEP.name, target="https://mlflow.example.org", lacking=1000, error="is away")]
        ),
        [SWEEP.name, "https://mlflow.example.org"],
    ),
}
DATED = ("status",)  # in the machine's time zone; `test_widths.py` has a snapshot of it


def drawn(shown: RenderableType, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(shown, crop=False)
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", SHOWN)
def test_no_table_cuts_a_number_or_a_name(name: str, width: int, snapshot: SnapshotAssertion) -> None:
    shown, whole = SHOWN[name]
    text = drawn(shown, width)
    assert "…" not in text
    assert [part for part in whole if part not in text] == []
    assert name in DATED or "\n".join(line.rstrip() for line in text.splitlines()) == snapshot


@pytest.mark.parametrize("name", SHOWN)
def test_a_table_fits_where_it_can(name: str) -> None:
    lines = drawn(SHOWN[name][0], 80).splitlines()
    assert [line for line in lines if len(line.rstrip()) > 80] == []


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_tiny_terminal_is_no_fault(width: int) -> None:
    for shown, _ in SHOWN.values():
        assert drawn(shown, width)


def test_a_cancelled_trial_is_not_complete() -> None:
    assert "6/8 2 cancelled" in drawn(rendering_sweeps.arms_table([SUMMARY], "test error"), 120)
    assert "8/8" in drawn(rendering_sweeps.arms_table([replace(SUMMARY, cancelled=0)], "test error"), 120)


@pytest.mark.parametrize(
    ("shared", "whole", "between"),
    [((30, 30), (40, 40), "-20"), ((30, 30), (40, 50), "-20 to -10"), ((30, 30), (60, 60), None)],
)
def test_the_epochs_of_a_plan_add_up_over_its_arms(
    shared: tuple[int, int], whole: tuple[int, int], between: str | None
) -> None:
    arms = tuple(ArmPlan(arm=name, trials=1, epochs_naive=40, epochs_shared=shared) for name in ("one", "other"))
    lines = drawn(
        rendering.plan_facts(replace(PLAN, arms=arms, epochs_naive=80, epochs_shared=whole)), 100
    ).splitlines()
    told = [line.split(maxsplit=2)[2].strip() for line in lines if "between arms" in line]
    assert told == ([between] if between else [])


def test_a_plan_says_how_long_the_start_takes() -> None:
    assert "measured here; 20 s to start)" in " ".join(drawn(rendering.plan_facts(PLAN), 120).split())


@pytest.mark.parametrize(
    ("status", "ended", "failed", "told", "not_told"),
    [
        ("interrupted", 6, 0, "Run the same command again to resume it.", "failed"),
        ("failed", 8, 2, "The next run trains failed trials again", "nothing else"),
        ("finished", 8, 0, "mine  finished", "again"),
    ],
)
def test_a_sweep_that_is_not_done_says_what_to_do(
    status: str, ended: int, failed: int, told: str, not_told: str
) -> None:
    sweep = replace(SWEEP, name="mine", status=status, trials=8, ended=ended, failed=failed)
    shown = drawn(rendering_sweeps.sweep_detail(replace(DETAIL, sweep=sweep)), 120)
    assert told in shown
    assert not_told not in shown

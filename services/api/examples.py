"""Examples of the API: one small sweep from its spec to its curves, as values of the types that the routes take and give."""

from dataclasses import replace
from typing import Any

from services.api.feeds import sent
from services.schemas import Checked, Incident, SweepDetail, SweepOverview, Validation
from services.server.curves import SettingCurves, Spread, Stretch, SweepCurves
from services.server.links import TrackingLinks
from services.server.values import Happening, Submitted, SubmittedDetail, SubmittedPage
from sweeps.results.values import ArmSummary, Finding, Interval, TrialResult, Verdict

ID, SWEEP_ID = "3f9c0d2a11be4c70", "8d1f6e0b52a94c37"
STARTED_MS = 1_796_000_000_000

SPEC: dict[str, Any] = {
    "name": "decay-epoch",
    "title": "When to decay",
    "program": {
        "task": "classify",
        "model": {"kind": "vgg5", "width": 16},
        "data": "digits",
        "optimizer": "sgd",
        "batch_size": 64,
    },
    "epochs": 6,
    "seeds": [0, 1],
    "arms": {
        "late": {
            "schedule": {"kind": "decay_at", "learning_rate": 0.05, "decay_factor": 0.1, "decay_epoch": 2},
            "grid": {"schedule.decay_epoch": [2, 3]},
        },
    },
}
YAML = """name: decay-epoch
program:
  task: classify
  model: {kind: vgg5, width: 16}
  data: digits
  optimizer: sgd
  batch_size: 64
epochs: 6
seeds: [0, 1]
arms:
  late:
    schedule: {kind: decay_at, learning_rate: 0.05, decay_factor: 0.1, decay_epoch: 2}
    grid: {schedule.decay_epoch: [2, 3]}
"""
BASELINE: dict[str, Any] = {
    "format": 1,
    "sweep": "decay-epoch",
    "spec": "5b1f0c9f2a7d4e11",
    "error": "minimum",
    "arms": {
        "late": {
            "seeds": [0, 1],
            "trials": [
                {"settings": {"schedule.decay_epoch": 2}, "errors": [3.4, 3.6], "decays": [1, 1]},
                {"settings": {"schedule.decay_epoch": 3}, "errors": [2.9, 3.1], "decays": [1, 1]},
            ],
            "diverged": 0,
        }
    },
}

OVERVIEW = SweepOverview(
    id=SWEEP_ID,
    name="decay-epoch",
    status="running",
    sharing=True,
    created_ms=STARTED_MS,
    trials=4,
    ended=2,
    diverged=0,
    failed=0,
    cancelled=0,
    stopped=0,
    covered=20,
    total=24,
    trained=14,
    replayed=0,
)
SUBMITTED = Submitted(
    id=ID,
    owner="ada",
    name="decay-epoch",
    title="When to decay",
    phase="running",
    wanted="running",
    priority=0,
    created_ms=STARTED_MS,
    sweep_id=SWEEP_ID,
    workers=2,
    launches=1,
    why=None,
    sweep=OVERVIEW,
    best=2.9,
)
QUEUED = replace(SUBMITTED, phase="queued", sweep_id=None, workers=None, launches=0, sweep=None, best=None)
VALIDATION = Validation(
    name="decay-epoch", title="When to decay", trials=4, arms={"late": 4}, seeds=(0, 1), epochs=6, epochs_naive=24
)
_TRIAL = TrialResult(
    name="late-3-s0",
    arm="late",
    seed=0,
    settings={"schedule.decay_epoch": 3},
    status="finished",
    epoch=6,
    epochs=6,
    minimum_error=2.9,
    final_error=3.0,
    selected_error=3.0,
    decays=(3,),
    error=None,
    failure=None,
    attempts=0,
)
_ARM = ArmSummary(
    arm="late",
    kind="decay_at",
    trials=4,
    ended=2,
    diverged=0,
    failed=0,
    cancelled=0,
    stopped=0,
    seeds=2,
    settings={"schedule.decay_epoch": 3},
    minimum_error=3.0,
    final_error=3.1,
    final_sd=0.14,
    decays=((3,), (3,)),
)
_INCIDENT = Incident(
    kind="infrastructure",
    text="its worker was lost",
    times=1,
    retried=1,
    trials=1,
    last_trial="late-2-s1",
    last_epoch=4,
    last_ms=STARTED_MS + 60_000,
)
DETAIL = SweepDetail(
    sweep=OVERVIEW, arms=(_ARM,), trials=(_TRIAL,), incidents=(_INCIDENT,), lacking=0, error="lowest test error, %"
)
SHOWN = SubmittedDetail(submission=SUBMITTED, spec=SPEC, options={"workers": 2, "tracking": True}, detail=DETAIL)
PAGE = SubmittedPage(items=(SUBMITTED,), next=f"{STARTED_MS}-{ID}")
CHECKED = Checked(
    sweep="decay-epoch",
    id=SWEEP_ID,
    baseline="in the request",
    error="minimum",
    verdict=Verdict.HOLDS,
    findings=(
        Finding(
            arm="late",
            what="best",
            verdict=Verdict.HOLDS,
            why="0.1 worse at most, of the 1.5 allowed",
            before=Interval(3.0, 2.8, 3.2),
            after=Interval(3.0, 2.9, 3.1),
            change=Interval(0.0, -0.1, 0.1),
            limit=1.5,
        ),
    ),
    metric="test error, %",
)
_SPREAD = Spread(mean=(41.0, 12.5, None), low=(40.0, 12.0, None), high=(42.0, 13.0, None))
CURVES = SweepCurves(
    error="test_error",
    label="test error",
    unit="%",
    epochs=(1, 2, 3),
    settings=(SettingCurves(arm="late", label="decay_epoch=3", seeds=2, best=3.0, metrics={"test_error": _SPREAD}),),
    settings_in_all=2,
)
TREE = (
    Stretch(parent=None, first=1, last=2, trials=2, ends=()),
    Stretch(parent=0, first=3, last=6, trials=1, ends=("late-3-s0",)),
)
_MLFLOW = "https://mlflow.example.org/#/experiments/1/runs"
LINKS = TrackingLinks(
    sweep=f"{_MLFLOW}?compareRunsMode=CHART", trials={_TRIAL.name: f"{_MLFLOW}/0d3c1b5e7f9a4c2e8b6d4f1a2c3e5b7d"}
)
LOG = "2026-11-30T00:54:20Z 20 of 24 epochs; 2 trials are running\n"
REPORT = "<!doctype html><title>When to decay</title>"
EVENT = Happening(id=17, kind="trial_ended", at_ms=STARTED_MS, trial="late-3-s0", payload={"status": "finished"})
STREAM = sent(EVENT)

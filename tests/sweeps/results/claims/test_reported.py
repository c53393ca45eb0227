"""Tests for `reported.py`: which of simple decay's errors counts, in every rule and table that compares it."""

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from evidences import BOUNCE, evidence, trial

from sweeps.results.claims import gains, robustness_evidence
from sweeps.results.claims.evidence import RATE, Evidence
from sweeps.results.claims.paper import Held, evaluate_claims
from sweeps.results.claims.reported import as_reported
from sweeps.results.claims.schedule_table import schedule_table, table_findings
from sweeps.spec.sections import Claim
from sweeps.spec.sweep import SpecError, load_spec, parse_document

HELD, NOT = Held.HELD, Held.NOT_HELD
WITH_L2 = {"program": {"l2": 0.01}}
RISING, LOSSES = (50.0, 45.0, 40.0, 20.0, 26.0), (4.0, 3.0, 2.0, 1.0, 1.5)  # the decay is after epoch 3


def simple(errors: Sequence[float] = RISING, losses: Sequence[float] = LOSSES, **more: Any) -> list[dict[str, Any]]:
    settings, name = more.pop("settings", {}), more.pop("arm", "simple")
    return [
        trial(
            *(name, seed, tuple(error + shift for error in errors), settings),
            **{"kind": "simple", "losses": losses, "decay_epochs": (3,)} | more,
        )
        for seed, shift in enumerate((-0.1, 0.02, 0.1))
    ]


def cosine(error: float, **more: Any) -> list[dict[str, Any]]:
    settings, name = more.pop("settings", {}), more.pop("arm", "cosine")
    shifts = enumerate((-0.1, 0.0, 0.1))
    return [
        trial(name, seed, (50.0, 45.0, 40.0, 30.0, error + shift), settings, kind="cosine", **more)
        for seed, shift in shifts
    ]


def here(rows: Sequence[Any], claim: Claim) -> list[Held]:
    return [one.here for one in evaluate_claims(evidence(rows, spec=WITH_L2), [claim], 2.0)]


def finals(seen: Evidence) -> list[float]:
    return as_reported(seen).frames.trials["final_error"].round(2).tolist()


def test_where_the_error_rises_after_the_decay_that_at_the_lowest_training_loss_counts() -> None:
    assert finals(evidence(simple(), spec=WITH_L2)) == [19.9, 20.02, 20.1]
    assert finals(evidence(simple())) == [25.9, 26.02, 26.1], "without L2"
    falling = (50.0, 45.0, 40.0, 30.0, 26.0)
    assert finals(evidence(simple(falling), spec=WITH_L2)) == [25.9, 26.02, 26.1], "the error does not rise"
    assert finals(evidence(simple(kind="step"), spec=WITH_L2)) == [25.9, 26.02, 26.1], "another schedule"
    assert finals(evidence(simple(decay_epochs=()), spec=WITH_L2)) == [25.9, 26.02, 26.1], "it has not decayed"
    assert finals(as_reported(evidence(simple(), spec=WITH_L2))) == [19.9, 20.02, 20.1], "asked twice"


def test_the_seeds_of_a_setting_decide_together() -> None:
    first, *others = simple()
    flat = trial("simple", 0, (50.0, 45.0, 40.0, 21.0, 20.0), {}, losses=LOSSES, decay_epochs=(3,))
    assert finals(evidence([flat, *others], spec=WITH_L2)) == [21.0, 20.02, 20.1]
    steep = trial("simple", 0, (50.0, 45.0, 40.0, 60.0, 20.0), {}, losses=LOSSES, decay_epochs=(3,))
    assert finals(evidence([steep, *others], spec=WITH_L2)) == [20.0, 26.02, 26.1]
    apart = steep | {"settings": {"schedule.decay_factor": 0.5}, "trial_id": "another setting"}
    assert finals(evidence([apart, first, *others], spec=WITH_L2)) == [20.0, 19.9, 20.02, 20.1]


def test_every_rule_on_simple_decay_has_the_paper_s_error() -> None:
    """With its last error, cosine would gain 6 points over simple decay with L2."""
    assert here([*simple(), *cosine(20.2)], "easy")[1] is HELD
    assert here([*simple(), *cosine(20.2)], "cosine")[0] is NOT
    without = {"program.l2": 0.0}
    plain = [*simple((50.0, 45.0, 40.0, 30.0, 20.0), settings=without), *cosine(19.99, settings=without)]
    assert here([*simple(), *cosine(20.2), *plain], "l2_gap") == [NOT, HELD]
    slow = [trial("constant", seed, (26.0 + seed / 100,) * 5, {RATE: 0.02}) for seed in range(3)]
    assert here([*simple(settings={RATE: 0.1}), *slow], "small_rate")[0] is HELD, "equal to its last error"


def test_a_spec_is_refused_for_each_claim_that_takes_these_errors_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated metric may stand at the lowest training loss, so specs know which claims look there."""
    taken: list[Claim] = []
    for module in (gains, robustness_evidence):
        monkeypatch.setattr(module, "as_reported", lambda seen: taken.append(claim) or seen)
    given = load_spec("table-2-nlp-mini").to_dict() | {"figure": None}
    given |= {"program": given["program"] | {"l2": 1e-4}}
    refused = []
    for claim in get_args(Claim):
        evaluate_claims(evidence(simple()), [claim], 2.0)
        try:
            parse_document(given | {"claims": {"tested": [claim]}})
        except SpecError as error:
            refused += [claim] if error.faults[0].startswith("program.l2") else []
    assert refused == list(dict.fromkeys(taken)) and len(refused) > 1


def test_a_table_has_the_same_errors_and_says_so() -> None:
    frames = evidence([*simple(), *cosine(20.2)], spec=WITH_L2).frames
    entries = schedule_table(frames, None)
    assert entries is not None
    assert [(entry.kind, round(entry.found.value, 2), entry.selected) for entry in entries] == [
        ("simple", 20.01, True),
        ("cosine", 20.2, False),
    ]
    assert next(table_findings(entries)).endswith("at the lowest training loss.")


def test_cosine_has_its_last_error() -> None:
    late = [row | {"losses": LOSSES, "norm": BOUNCE} for row in cosine(10.0)]
    (gain, _) = evaluate_claims(evidence([*simple(), *late], spec=WITH_L2), ["cosine"], 2.0)
    assert gain.found is not None and gain.found.value == pytest.approx(10.0, abs=0.2)

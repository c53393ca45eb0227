import math

import pytest

from abel.schedules import Abel, Constant, DecayAt, Observation, Simple
from workers.fold import Member, diverged, finished, part, plan_epoch, planned_epochs, states, updated
from workers.trajectory import Identity, child

IDENTITY = Identity(program={"batch_size": 4}, data="d" * 64, examples=12, numerics={}, code="c" * 64)
ROOT = IDENTITY.root(seed=0)
EARLY = DecayAt(learning_rate=0.1, decay_factor=0.5, decay_epoch=1)
LATE = DecayAt(learning_rate=0.1, decay_factor=0.5, decay_epoch=3)
SEEN = [Observation(weight_norm_sq=9.0 - epoch, train_loss=1.0) for epoch in range(4)]
BROKEN = Observation(weight_norm_sq=9.0, train_loss=math.nan)


def test_a_path_is_named_by_its_plans() -> None:
    key, state = ROOT, LATE.init()
    path = planned_epochs(LATE, SEEN, ROOT, IDENTITY)
    assert len(path) == len(SEEN)
    for epoch, (planned, seen) in enumerate(zip(path, SEEN, strict=True), start=1):
        assert planned.plan.learning_rates.shape == (3,)  # 12 examples in batches of 4
        key = child(key, LATE.plan(state, epoch, examples=12, batch_size=4))
        assert planned.key == key
        state = LATE.update(state, seen)


def test_schedules_share_a_path_until_their_rates_part() -> None:
    early, late, constant = (
        [planned.key for planned in planned_epochs(schedule, SEEN, ROOT, IDENTITY)]
        for schedule in (EARLY, LATE, Constant(learning_rate=0.1))
    )
    assert early[0] == late[0] == constant[0] and early[1] != late[1]
    assert late[:3] == constant[:3] and late[3] != constant[3]


def test_members_with_one_plan_go_on_together_the_most_first() -> None:
    alike = Simple(learning_rate=0.1, decay_factor=0.5, last_decay_epoch=3)
    members = [Member(trial=name, schedule=one) for name, one in {"e": EARLY, "l": LATE, "s": alike}.items()]
    pairs = [(member, states(member.schedule, SEEN[:1])[-1]) for member in members]
    key = planned_epochs(LATE, SEEN[:1], ROOT, IDENTITY)[-1].key
    (first, together), (second, alone) = part(pairs, 2, key, IDENTITY)
    assert [member.trial for member, _ in together] == ["l", "s"] and [member.trial for member, _ in alone] == ["e"]
    assert first.key == plan_epoch(LATE, together[0][1], 2, key, IDENTITY).key != second.key


@pytest.mark.parametrize("broken", [BROKEN, Observation(weight_norm_sq=math.inf, train_loss=1.0)])
def test_what_diverged_is_shown_to_no_schedule(broken: Observation) -> None:
    assert diverged(broken) and not diverged(SEEN[0])
    before = states(LATE, SEEN)[-1]
    assert updated(LATE, before, broken) is before
    assert updated(LATE, before, SEEN[0]) == LATE.update(before, SEEN[0])
    assert states(LATE, [*SEEN, broken]) == states(LATE, SEEN)
    assert len(planned_epochs(LATE, [*SEEN, broken], ROOT, IDENTITY)) == 5


def test_nothing_recorded_is_a_path_of_no_epochs() -> None:
    assert planned_epochs(LATE, [], ROOT, IDENTITY) == []
    assert states(LATE, []) == [LATE.init()]


def test_a_schedule_may_end_before_the_others() -> None:
    free = {"last_decay_epoch": None, "gain_threshold": 0.01, "epochs_after_last_decay": 2}
    stopping = Abel(learning_rate=0.1, decay_factor=0.1, **free)
    bounces = [Observation(2.0 + epoch % 2, train_loss=0.5) for epoch in range(8)]
    members = (Member(trial="stops", schedule=stopping), Member(trial="goes on", schedule=Constant(learning_rate=0.1)))
    pairs = [(member, states(member.schedule, bounces)[-1]) for member in members]
    done, going = finished(pairs)
    assert ([member.trial for member, _ in done], [member.trial for member, _ in going]) == (["stops"], ["goes on"])

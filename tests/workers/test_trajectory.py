import json
from dataclasses import replace

import numpy as np

from abel.schedules import EpochPlan
from workers.trajectory import Identity, child, numerics

IDENTITY = Identity(
    program={"kind": "p"}, data="d" * 64, examples=100, numerics={"jax": "1", "threads": "1"}, code="c" * 64
)
PLAN = EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=8)


def test_a_root_changes_with_every_part_of_the_identity_and_with_the_seed() -> None:
    others = [
        replace(IDENTITY, program={"kind": "q"}),
        replace(IDENTITY, data="e" * 64),
        replace(IDENTITY, numerics={"jax": "1", "threads": "2"}),
        replace(IDENTITY, code="d" * 64),
    ]
    roots = {identity.root(0) for identity in [IDENTITY, *others]} | {IDENTITY.root(1), IDENTITY.root(0, "salt")}
    assert len(roots) == len(others) + 3
    assert IDENTITY.root(0) == replace(IDENTITY).root(0)


def test_a_gang_has_keys_of_its_own_and_one_host_has_not() -> None:
    one = replace(IDENTITY, numerics={"jax": "1", "devices": "4"})
    assert one.over(1) is one
    assert one.over(2).numerics == {"jax": "1", "devices": "8", "hosts": "2"}
    assert len({one.root(0), one.over(2).root(0), replace(one, numerics={"jax": "1", "devices": "8"}).root(0)}) == 3
    assert numerics().keys() == {
        *("jax", "jaxlib", "flax", "optax", "device", "devices", "threads"),
        *("dtype", "matmul_precision", "random", "xla_flags"),
    }


def test_a_child_changes_with_rates_batch_size_and_parent_alone() -> None:
    root = IDENTITY.root(0)
    same = EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=8)
    others = [
        EpochPlan(np.array([0.1, np.nextafter(np.float32(0.2), np.float32(1))], np.float32), batch_size=8),
        EpochPlan(np.array([0.1], np.float32), batch_size=8),
        EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=16),
    ]
    assert child(root, PLAN) == child(root, same)
    assert len({child(root, plan) for plan in [PLAN, *others]} | {child(IDENTITY.root(1), PLAN)}) == 5


def test_why_not_names_what_differs() -> None:
    other = replace(IDENTITY, numerics={"jax": "2", "threads": "1"}, code="e" * 64)
    assert IDENTITY.why_not(other) == ["jax: 1, 2", "code: cccccccccccc, eeeeeeeeeeee"]
    assert IDENTITY.why_not(IDENTITY) == []


def test_an_earlier_version_s_identity_keeps_its_keys() -> None:
    written = IDENTITY.to_dict()
    assert Identity.from_dict(json.loads(json.dumps(written))) == IDENTITY
    del written["metric"]
    old = Identity.from_dict(written | {"guessing": 90.0})
    assert old.root(0) == IDENTITY.root(0)
    assert (old.metric.name, old.metric.worst) == ("test_error", 90.0)
    assert Identity.from_dict(written).metric.worst is None

import hashlib
import json
import pickle
from dataclasses import replace

import pytest

from abel.schedules import Constant, Step
from sweeps.spec.trial import Trial, schedule_to_dict
from workers.config import Program


@pytest.fixture
def trial(tiny_program: Program) -> Trial:
    schedule = Step(learning_rate=0.1, decay_factor=0.2, decay_epochs=(3, 5))
    return Trial(number=0, name="a seed=0", arm="a", program=tiny_program, schedule=schedule, seed=0, epochs=8)


def test_the_id_is_a_hash_of_the_canonical_json(trial: Trial) -> None:
    text = json.dumps(trial.content(), sort_keys=True, separators=(",", ":"))
    assert trial.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_id_names_what_is_trained(trial: Trial) -> None:
    assert replace(trial, number=3, name="b", arm="b", settings={"x": 1}).id == trial.id
    others = [
        replace(trial, seed=1),
        replace(trial, epochs=9),
        replace(trial, schedule=Constant(learning_rate=0.1)),
        replace(trial, program=replace(trial.program, l2=0.5)),
    ]
    assert len({trial.id, *(other.id for other in others)}) == 5


def test_a_trial_travels(trial: Trial) -> None:
    assert pickle.loads(pickle.dumps(trial)) == trial
    assert hash(pickle.loads(pickle.dumps(trial))) == hash(trial)


def test_a_schedule_s_dictionary_is_json(trial: Trial) -> None:
    values = schedule_to_dict(trial.schedule)
    assert values == json.loads(json.dumps(values))
    assert values["kind"] == "step"
    assert values["decay_epochs"] == [3, 5]

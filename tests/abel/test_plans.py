import pickle

import numpy as np

from abel import bounce
from abel.plans import EpochPlan, Event


def plan(*rates: float, batch_size: int = 8) -> EpochPlan:
    return EpochPlan(np.array(rates, np.float32), batch_size)


def test_token_tells_plans_apart() -> None:
    plans = [plan(0.1), plan(0.1, 0.1), plan(0.1, batch_size=9), plan(np.nextafter(np.float32(0.1), np.float32(1)))]
    assert len({each.token() for each in plans}) == len(plans)


def test_token_survives_a_copy_and_another_byte_order() -> None:
    original = plan(0.1, 0.05)
    assert pickle.loads(pickle.dumps(original)).token() == original.token()
    assert original._replace(learning_rates=original.learning_rates.astype(">f4")).token() == original.token()


def test_events_are_those_of_bounce() -> None:
    assert (Event.NONE, Event.MINIMUM, Event.DECAY) == (bounce.NONE, bounce.MINIMUM, bounce.DECAY)
    assert Event.DECAY | Event.LAST_DECAY == 6

"""The client over a real service: what it returns, raises and repeats."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desks import SPEC, Api, desk_over, serving
from stories import Story

from services.client.client import Client, ServiceAway
from services.errors import OperationError
from services.server.desk import PAGE, Desk
from services.server.values import Happening, Submitted
from services.settings import Settings
from services.verbs import gate
from sweeps.errors import SpecError
from sweeps.ledger.database import LedgerAway
from sweeps.results import baseline as baselines


@pytest.fixture
def api(story: Story, tmp_path: Path) -> Iterator[Api]:
    with desk_over(story.ledger, tmp_path) as made:
        yield made


@pytest.fixture
def client(api: Api) -> Client:
    return Client(api.url, api.token("ada"), patience_seconds=3)


@pytest.fixture
def carried_out(api: Api) -> Callable[[str, str], None]:
    """Let this process carry out a submission as the sweep with an id."""

    def take(id: str, sweep_id: str) -> None:
        number = api.queue.count_launch(api.queue.submission(id), None)
        assert number is not None
        api.queue.take(id, number)
        api.queue.renew(id, number, sweep_id=sweep_id)

    return take


def test_what_it_returns_are_the_services_values(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None]
) -> None:
    one, new = client.submit(SPEC, priority=2)
    assert (new, one.phase, one.priority) == (True, "queued", 2)
    assert client.status(one.id) is None
    story.begin().tell().end()
    carried_out(one.id, story.sweep_id)
    detail = client.show("tiny").detail
    assert detail == client.status(one.id)
    assert detail.sweep.trials == len(detail.trials) == len(story.trials())
    assert next(iter(client.sweeps())).sweep == detail.sweep
    assert client.validate(SPEC).trials == 6


def test_a_check_is_that_of_the_command(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None], tmp_path: Path
) -> None:
    one, _ = client.submit(SPEC)
    story.begin().tell().end()
    carried_out(one.id, story.sweep_id)
    row = story.ledger.sweep(story.sweep_id)
    arms = {trial.arm: {} for trial in story.trials()}
    story.ledger.describe_sweep(row.id, {**SPEC, **row.spec, "arms": arms})
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path), "ABEL_LEDGER": str(story.ledger._engine.url)})
    saved = gate.save(settings, story.sweep_id)
    before = baselines.parse_baseline(saved, "here")
    here = gate.check(settings, story.sweep_id, before, {"spread": 1.5}, [gate.rule("worst <= 1")])
    there = client.check(one.id, json.loads(saved), ["spread=1.5"], ["worst <= 1"])
    assert repr(there) == repr(replace(here, baseline="in the request"))
    with pytest.raises(OperationError, match="baseline in the request: must be the output of"):
        client.check(one.id, {"arms": 5})


def test_events_come_once_each_in_order_and_end_with_the_submission(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None]
) -> None:
    one, _ = client.submit(SPEC)
    seen: list[Submitted | Happening] = []
    following = threading.Thread(target=lambda: seen.extend(client.events(one.id)))
    following.start()
    story.begin().tell(upto=10)
    carried_out(one.id, story.sweep_id)
    time.sleep(1.5)
    story.tell().end()
    api.queue.release(one.id, 1, outcome="finished")
    following.join(30)
    assert not following.is_alive()
    events = [event.id for event in seen if isinstance(event, Happening)]
    assert events == [row.id for row in api.ledger.events(story.sweep_id, limit=10_000)]
    assert [one.phase for one in seen if isinstance(one, Submitted)][-1] == "finished"
    assert {event.trial for event in seen if isinstance(event, Happening) and "trial" in event.payload} == {
        trial.name for trial in story.trials()
    }


def test_events_continue_after_the_last_one_received(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None]
) -> None:
    one, _ = client.submit(SPEC)
    story.begin().tell().end()
    carried_out(one.id, story.sweep_id)
    api.queue.release(one.id, 1, outcome="finished")
    every = [event.id for event in client.events(one.id) if isinstance(event, Happening)]
    assert [event.id for event in client.events(one.id, after=every[4]) if isinstance(event, Happening)] == every[5:]


def test_a_ledger_that_is_away_for_a_moment_delays_events(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = client.submit(SPEC)
    story.begin().tell().end()
    carried_out(one.id, story.sweep_id)
    api.queue.release(one.id, 1, outcome="finished")
    progress, away = Desk.progress, [LedgerAway("ledger postgresql://db: cannot be read: connection refused")]

    def tried(*given: Any) -> Any:
        if away:
            raise away.pop()
        return progress(*given)

    monkeypatch.setattr(Desk, "progress", tried)
    seen = [event.id for event in client.events(one.id) if isinstance(event, Happening)]
    assert not away and seen == [row.id for row in api.ledger.events(story.sweep_id, limit=10_000)]


def test_many_events_come_page_by_page_without_a_pause(
    client: Client, api: Api, story: Story, carried_out: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.feeds.LOOK_SECONDS", 60)
    story.seeds, story.epochs = 24, 40
    one, _ = client.submit(SPEC)
    story.begin().tell().end()
    carried_out(one.id, story.sweep_id)
    api.queue.release(one.id, 1, outcome="finished")
    rows = api.ledger.events(story.sweep_id, limit=10_000)
    assert len(rows) > 2 * PAGE
    began = time.monotonic()
    assert [event.id for event in client.events(one.id) if isinstance(event, Happening)] == [row.id for row in rows]
    assert time.monotonic() - began < 60


def test_faults_of_a_spec_are_those_of_validate(client: Client) -> None:
    with pytest.raises(SpecError) as refused:
        client.submit(SPEC | {"epochs": -1, "name": "a/b"})
    assert any(fault.startswith("epochs: must be") for fault in refused.value.faults)
    assert any(fault.startswith("name: must") for fault in refused.value.faults)


def test_refusals_are_one_error_with_the_services_words(client: Client, api: Api) -> None:
    with pytest.raises(OperationError, match="must be the id or name of one of ada's"):
        client.pause("nothing")
    with pytest.raises(OperationError, match="Authorization: must be"):
        Client(api.url, "abel_wrong").status("tiny")
    client.submit(SPEC, key="k")
    with pytest.raises(OperationError, match="was used for another request"):
        client.submit(SPEC | {"epochs": 9}, key="k")


def test_a_service_that_is_away_is_asked_for_a_while(free_port: Callable[[], int]) -> None:
    began = time.monotonic()
    with pytest.raises(ServiceAway, match=r"service http://127.0.0.1:\d+: does not answer"):
        list(Client(f"http://127.0.0.1:{free_port()}", "x", patience_seconds=1.5).sweeps())
    assert 1.5 < time.monotonic() - began < 20


def test_another_server_is_named_as_such(tmp_path: Path) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"<h1>nginx</h1>"})

    with serving(other) as url, pytest.raises(OperationError, match="must be one of abel's, got an answer 404"):
        Client(url, "x").show("tiny")

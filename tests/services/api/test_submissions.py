"""What the service answers: a submission's life by HTTP, and every refusal with a pointer at its field."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from desks import SPEC, Api
from waiting import wait_for

from services.api.handling import MOST_SUBMITTING
from services.api.problems import pointer
from services.server import reconciling
from services.server.desk import Desk
from services.server.jobs import JobState


def test_a_spec_is_submitted_once_a_key(api: Api) -> None:
    body = {"spec": SPEC, "workers": 2, "priority": 3}
    first = api.ask("POST", "/v1/sweeps", body, **{"Idempotency-Key": "k1"})
    again = api.ask("POST", "/v1/sweeps", body, **{"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.headers["location"] == f"/v1/sweeps/{first.json()['id']}"
    other = api.ask("POST", "/v1/sweeps", body | {"priority": 4}, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["status"]) == (409, 409)
    detail = api.ask("GET", f"/v1/sweeps/{first.json()['id']}").json()
    assert (detail["spec"]["epochs"], detail["options"]["workers"], detail["detail"]) == (6, 2, None)
    assert detail["submission"]["phase"] == "queued"


def test_an_owner_has_at_most_so_many_open_submissions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.server.desk.MOST_OPEN", 1)
    key = {"of": "eager", "Idempotency-Key": "k1"}
    id = api.ask("POST", "/v1/sweeps", {"spec": SPEC}, **key).json()["id"]
    more = api.ask("POST", "/v1/sweeps", {"spec": SPEC}, of="eager")
    assert (more.status_code, more.headers["retry-after"]) == (429, "60")
    assert "must be at most 1 without an outcome, got one more than 1" in more.json()["detail"]
    assert api.ask("POST", "/v1/sweeps", {"spec": SPEC}, **key).status_code == 200
    api.queue.settle(id, "cancelled")
    assert api.ask("POST", "/v1/sweeps", {"spec": SPEC}, of="eager").status_code == 201


def test_nobody_waits_for_what_a_place_says_of_another_submission(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    id = api.submit("patient")
    api.queue.count_launch(api.queue.submission(id), None)
    asked, answer, now = threading.Event(), threading.Event(), reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 90_000)

    def observe(id: str, number: int) -> JobState:
        asked.set()
        assert answer.wait(30)
        return JobState.ALIVE

    monkeypatch.setattr(api.jobs, "observe", observe)
    cancelling = threading.Thread(target=lambda: api.ask("POST", f"/v1/sweeps/{id}/cancel", of="patient"))
    cancelling.start()
    assert asked.wait(30)
    api.submit("hasty")
    answer.set()
    cancelling.join(30)
    assert not cancelling.is_alive()


def test_yaml_text_is_a_spec_too(api: Api) -> None:
    text = json.dumps(SPEC)  # JSON is YAML
    assert api.ask("POST", "/v1/sweeps", {"spec": text}).status_code == 201
    wrong = api.ask("POST", "/v1/sweeps", {"spec": "name: [unclosed"})
    assert wrong.status_code == 422
    assert "line 1" in wrong.json()["errors"][0]["detail"]


def test_the_newest_of_a_name_is_meant_by_it(api: Api) -> None:
    api.submit("namer")
    newest = api.submit("namer", epochs=7)
    assert api.ask("GET", "/v1/sweeps/tiny", of="namer").json()["submission"]["id"] == newest


def test_pages_continue(api: Api) -> None:
    for epochs in range(4, 9):
        api.submit("pager", epochs=epochs)
    seen, cursor = [], ""
    while True:
        page = api.ask("GET", f"/v1/sweeps?limit=2{cursor}", of="pager").json()
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 5
    assert api.ask("GET", "/v1/sweeps?cursor=x", of="pager").status_code == 422


def test_commands_change_what_is_wanted_and_an_outcome_stays(api: Api) -> None:
    id = api.submit()
    assert api.ask("POST", f"/v1/sweeps/{id}/pause").json()["wanted"] == "paused"
    assert api.ask("POST", f"/v1/sweeps/{id}/resume").json()["wanted"] == "running"
    api.queue.settle(id, "refused", "data/x: no such data set")
    shown = api.ask("POST", f"/v1/sweeps/{id}/cancel").json()
    assert (shown["phase"], shown["why"]) == ("refused", "data/x: no such data set")


def test_extend_submits_the_same_spec_with_other_seeds(api: Api) -> None:
    id = api.submit()
    more = api.ask("POST", f"/v1/sweeps/{id}/extend", {"seeds": [0, 1, 2]})
    assert more.status_code == 201
    assert api.ask("GET", f"/v1/sweeps/{more.json()['id']}").json()["spec"]["seeds"] == [0, 1, 2]
    nothing = api.ask("POST", f"/v1/sweeps/{id}/extend", {"workers": 2})
    assert nothing.status_code == 422
    short = api.ask("POST", f"/v1/sweeps/{id}/extend", {"epochs": 1})  # a decay would come after the end
    error, *_ = short.json()["errors"]
    assert (short.status_code, error["pointer"], error["detail"][:5]) == (422, "/epochs", "arms.")
    twice = api.ask("POST", f"/v1/sweeps/{id}/extend", {"seeds": [1, 1]}).json()
    assert twice["errors"][0]["pointer"].startswith("/seeds")


def test_extend_changes_the_options_that_are_given_and_keeps_the_others(api: Api) -> None:
    body = {"spec": SPEC, "workers": 2, "priority": 3, "threads": 4, "hours": 1.5}
    id = api.ask("POST", "/v1/sweeps", body).json()["id"]
    changes = {"epochs": 9, "workers": 5, "priority": -1}
    more = api.ask("POST", f"/v1/sweeps/{id}/extend", changes).json()
    detail = api.ask("GET", f"/v1/sweeps/{more['id']}").json()
    assert (more["priority"], detail["spec"]["epochs"]) == (-1, 9)
    options = detail["options"]
    assert {name: options[name] for name in ("workers", "threads", "hours")} == {
        "workers": 5,
        "threads": 4,
        "hours": 1.5,
    }
    wrong = api.ask("POST", f"/v1/sweeps/{id}/extend", {"epochs": 9, "priority": 101})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/priority")


def test_a_slow_start_is_shown_as_one_as_long_as_its_place_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    id = api.submit("slow")
    api.queue.count_launch(api.queue.submission(id), None)
    now = reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 90_000)
    monkeypatch.setattr("services.server.launches.KEPT_SECONDS", 0.0)
    phases = []
    for state in (JobState.ALIVE, JobState.WAITING, JobState.ENDED, JobState.UNKNOWN):
        monkeypatch.setattr(api.jobs, "state", state)
        phases.append(api.ask("GET", f"/v1/sweeps/{id}", of="slow").json()["submission"]["phase"])
    assert phases == ["starting", "starting", "queued", "queued"]


def test_the_log_is_what_the_last_process_printed(api: Api) -> None:
    id = api.submit()
    assert api.ask("GET", f"/v1/sweeps/{id}/log").text == ""
    number = api.queue.count_launch(api.queue.submission(id), None)
    api.jobs.said[id, number] = "reading its data\n"
    assert api.ask("GET", f"/v1/sweeps/{id}/log").text == "reading its data\n"


def test_there_is_no_report_before_the_sweep_has_started(api: Api) -> None:
    answer = api.ask("GET", f"/v1/sweeps/{api.submit()}/report")
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "report")


def test_only_json_without_encoding_is_read(api: Api) -> None:
    assert api.ask("POST", "/v1/sweeps", b"{}", **{"Content-Type": "text/yaml"}).status_code == 415
    assert api.ask("POST", "/v1/sweeps", b"{}", **{"Content-Encoding": "gzip"}).status_code == 415


def test_a_body_that_does_not_arrive_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.api import bodies

    monkeypatch.setattr(bodies, "READ_SECONDS", 0.3)
    api.ask("GET", "/v1/sweeps")
    where = urlsplit(api.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as slow:
        head = f"POST /v1/sweeps HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.known['ada']}\r\n"
        slow.sendall((head + "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{").encode())
        assert b" 408 " in slow.recv(200)


@pytest.mark.parametrize(
    "path", ["/v1/sweeps/..%2f..%2fetc", "/v1/sweeps/%00", "/v1/sweeps/" + "a" * 500, "/v1/nothing", "/nothing"]
)
def test_odd_paths_are_not_found(api: Api, path: str) -> None:
    answer = api.ask("GET", path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


GRID = {"arms": {"abel": {"grid": {"schedule.decay_epoch": [1, 2, 3]}}}}


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("arms.abel.grid.schedule.decay_epoch[2]", GRID, "/arms/abel/grid/schedule.decay_epoch/2"),
        ("a.b", {"a.b": 1, "a": {"b": 2}}, "/a.b"),
        ("x/y~z", {"x/y~z": 1}, "/x~1y~0z"),
        ("name.\\x1f.a[0]", {"name": {"\x1f": {"a": [1]}}}, "/name/\x1f/a/0"),
        ("seeds[0]", {}, "/seeds/0"),
        ("name..a[0]", {"name": {"": {"a": [1]}}}, "/name//a/0"),
        ("name.[0]", {"name": {"": [1]}}, "/name//0"),
        ("list[1].a.b.c", {"list": [0, {"a.b": {"c": 1}}]}, "/list/1/a.b/c"),
        ("missing.field", {"other": 1}, "/missing/field"),
    ],
)
def test_a_path_becomes_a_pointer(path: str, document: dict[str, Any], expected: str) -> None:
    assert pointer(path, document) == expected


def test_those_who_submit_leave_threads_to_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, inside, most, go = Desk.submit, 0, 0, threading.Event()
    counting = threading.Lock()

    def slow(*given: Any) -> Any:
        nonlocal inside, most
        with counting:
            inside, most = inside + 1, max(most, inside + 1)
        assert go.wait(30)
        with counting:
            inside -= 1
        return submit(*given)

    monkeypatch.setattr(Desk, "submit", slow)
    api.ask("GET", "/v1/sweeps")  # makes the token
    with ThreadPoolExecutor(3 * MOST_SUBMITTING) as threads:
        asked = [threads.submit(api.submit) for _ in range(3 * MOST_SUBMITTING)]
        wait_for(lambda: inside == MOST_SUBMITTING)
        assert api.ask("GET", "/v1/sweeps").status_code == 200
        go.set()
        assert len({one.result(30) for one in asked}) == len(asked)
    assert most == MOST_SUBMITTING

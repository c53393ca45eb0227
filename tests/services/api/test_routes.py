"""What the service answers: a submission's life by HTTP, and every refusal with a pointer at its field."""

import json
import socket
import time
from urllib.parse import urlsplit

import pytest
from desks import SPEC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.problems import pointer
from services.server import reconciling
from services.server.jobs import JobState

BIG = {"name": "tiny", "notes": "x" * 300_000}


def test_a_spec_is_submitted_once_a_key(api):
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


def test_yaml_text_is_a_spec_too(api):
    text = json.dumps(SPEC)  # JSON is YAML
    assert api.ask("POST", "/v1/sweeps", {"spec": text}).status_code == 201
    wrong = api.ask("POST", "/v1/sweeps", {"spec": "name: [unclosed"})
    assert wrong.status_code == 422
    assert "line 1" in wrong.json()["errors"][0]["detail"]


def test_the_newest_of_a_name_is_meant_by_it(api):
    api.submit("namer")
    newest = api.submit("namer", epochs=7)
    assert api.ask("GET", "/v1/sweeps/tiny", of="namer").json()["submission"]["id"] == newest


def test_pages_continue(api):
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


def test_commands_change_what_is_wanted_and_an_outcome_stays(api):
    id = api.submit()
    assert api.ask("POST", f"/v1/sweeps/{id}/pause").json()["wanted"] == "paused"
    assert api.ask("POST", f"/v1/sweeps/{id}/resume").json()["wanted"] == "running"
    api.queue.settle(id, "refused", "data/x: no such data set")
    shown = api.ask("POST", f"/v1/sweeps/{id}/cancel").json()
    assert (shown["phase"], shown["why"]) == ("refused", "data/x: no such data set")


def test_extend_submits_the_same_spec_with_other_seeds(api):
    id = api.submit()
    more = api.ask("POST", f"/v1/sweeps/{id}/extend", {"seeds": [0, 1, 2]})
    assert more.status_code == 201
    assert api.ask("GET", f"/v1/sweeps/{more.json()['id']}").json()["spec"]["seeds"] == [0, 1, 2]
    nothing = api.ask("POST", f"/v1/sweeps/{id}/extend", {"workers": 2})
    assert nothing.status_code == 422
    short = api.ask("POST", f"/v1/sweeps/{id}/extend", {"epochs": 1})  # a decay would come after the end
    assert (short.status_code, short.json()["errors"][0]["pointer"][:11]) == (422, "/spec/arms/")


def test_extend_changes_the_options_that_are_given_and_keeps_the_others(api):
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


def test_a_slow_start_is_shown_as_one_as_long_as_its_place_says_so(api, monkeypatch):
    id = api.submit("slow")
    api.queue.count_launch(api.queue.submission(id), None)
    now = reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 90_000)
    phases = []
    for state in (JobState.ALIVE, JobState.WAITING, JobState.ENDED, JobState.UNKNOWN):
        monkeypatch.setattr(api.jobs, "state", state)
        phases.append(api.ask("GET", f"/v1/sweeps/{id}", of="slow").json()["submission"]["phase"])
    assert phases == ["starting", "starting", "queued", "queued"]


def test_the_log_is_what_the_last_process_printed(api):
    id = api.submit()
    assert api.ask("GET", f"/v1/sweeps/{id}/log").text == ""
    number = api.queue.count_launch(api.queue.submission(id), None)
    api.jobs.said[id, number] = "reading its data\n"
    assert api.ask("GET", f"/v1/sweeps/{id}/log").text == "reading its data\n"


def test_there_is_no_report_before_the_sweep_has_started(api):
    answer = api.ask("GET", f"/v1/sweeps/{api.submit()}/report")
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "report")


HOSTILE = {
    "not JSON": (b"{", 400, ""),
    "not UTF-8": (b'{"spec": "\xff"}', 400, ""),
    "a list": (b"[]", 422, ""),
    "nothing": (b"", 400, ""),
    "NaN": (b'{"spec": {}, "hours": NaN}', 422, "/hours"),
    "infinity by digits": (b'{"spec": {}, "hours": 1e999}', 422, "/hours"),
    "five thousand digits": (b'{"spec": {}, "workers": ' + b"9" * 5001 + b"}", 422, "/workers"),
    "a lone surrogate": (b'{"spec": {"name": "\\ud800"}}', 400, "/spec/name"),
    "duplicate keys": (b'{"spec": {}, "spec": {}}', 400, "/spec"),
    "deep": (b"[" * 5000 + b"]" * 5000, 400, ""),
    "true as a number": (b'{"spec": {}, "workers": true}', 422, "/workers"),
    "negative": (b'{"spec": {}, "workers": -1}', 422, "/workers"),
    "a text as a number": (b'{"spec": {}, "threads": "4"}', 422, "/threads"),
    "an unknown field": (b'{"spec": {}, "entrypoint": "id"}', 422, "/entrypoint"),
    "environment": (b'{"spec": {}, "env": {"LD_PRELOAD": "x"}}', 422, "/env"),
    "too large": (json.dumps({"spec": BIG}).encode(), 413, ""),
    "no spec": (b"{}", 422, "/spec"),
    "a spec of numbers": (b'{"spec": 5}', 422, "/spec"),
}
CONSTANT = {"schedule": {"kind": "constant"}}
NEGATIVE = {"schedule": {"kind": "constant", "learning_rate": -1}}
ENDLESS = {"schedule.learning_rate": {"log_range": [0.001, 1], "count": 10**9}}
SPECS = {
    "a path as name": ({"name": "../../etc/passwd"}, "/spec/name"),
    "a control character": ({"name": "a\x00b"}, "/spec/name"),
    "right to left": ({"name": "tiny\u202ecod"}, "/spec/name"),
    "a long name": ({"name": "n" * 10_000}, "/spec/name"),
    "too many trials": ({"arms": {"a": CONSTANT | {"grid": ENDLESS}}}, "/spec/arms/a/grid/schedule.learning_rate"),
    "epochs without end": ({"epochs": 10**12}, "/spec/epochs"),
    "a negative rate": ({"arms": {"a": NEGATIVE}}, "/spec/arms/a/schedule/learning_rate"),
    "a million GPUs": ({"resources": {"gpu": 10**6}}, "/spec/resources/gpu"),
    "an unknown field": ({"artifacts": "s3://other"}, "/spec/artifacts"),
    "a trainable": ({"program": {"task": "os:system"}}, "/spec/program/task"),
    "no seeds": ({"seeds": []}, "/spec/seeds"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused_with_their_field(api, name):
    body, status, at = HOSTILE[name]
    began = time.monotonic()
    answer = api.ask("POST", "/v1/sweeps", body, of=f"hostile{len(name)}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - began < 5
    if at:
        assert at in [one["pointer"] for one in answer.json()["errors"]], answer.json()


@pytest.mark.parametrize("name", SPECS)
def test_hostile_specs_are_refused_with_their_field(api, name):
    changes, at = SPECS[name]
    answer = api.ask("POST", "/v1/sweeps", {"spec": SPEC | changes}, of=f"specs{len(name)}")
    assert answer.status_code == 422, answer.text
    assert any(one["pointer"].startswith(at) for one in answer.json()["errors"]), answer.json()


def test_only_json_without_encoding_is_read(api):
    assert api.ask("POST", "/v1/sweeps", b"{}", **{"Content-Type": "text/yaml"}).status_code == 415
    assert api.ask("POST", "/v1/sweeps", b"{}", **{"Content-Encoding": "gzip"}).status_code == 415


def test_a_body_that_does_not_arrive_is_given_up(api, monkeypatch):
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
def test_odd_paths_are_not_found(api, path):
    answer = api.ask("GET", path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


KEYS = st.sampled_from([*SPEC, "kind", "schedule", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes=st.dictionaries(st.sampled_from(sorted(SPEC)), JSON, min_size=1, max_size=3))
def test_whatever_a_spec_is_made_of_it_is_read_or_refused(api, changes):
    body = json.dumps({"spec": SPEC | changes}).encode()
    answer = api.ask("POST", "/v1/validate", body, of=f"h{hash(body) % 40}")
    assert answer.status_code in (200, 400, 422)
    if answer.status_code != 200:
        assert answer.json()["errors"]


GRID = {"arms": {"abel": {"grid": {"schedule.decay_epoch": [1, 2, 3]}}}}


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("arms.abel.grid.schedule.decay_epoch[2]", GRID, "/arms/abel/grid/schedule.decay_epoch/2"),
        ("a.b", {"a.b": 1, "a": {"b": 2}}, "/a.b"),
        ("x/y~z", {"x/y~z": 1}, "/x~1y~0z"),
        ("seeds[0]", {}, "/seeds/0"),
        ("missing.field", {"other": 1}, "/missing/field"),
    ],
)
def test_a_path_becomes_a_pointer(path, document, expected):
    assert pointer(path, document) == expected

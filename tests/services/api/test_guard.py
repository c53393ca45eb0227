"""Who may ask: every rung of the ladder, on every route."""

import asyncio
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest
import requests
from desks import Api

from services.api.guard import Allowance, Turns
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.holding import now_ms
from sweeps.ledger.submissions.tokens import Tokens

ROUTES = [
    ("GET", "/v1/sweeps", "read"),
    ("GET", "/v1/sweeps/{id}", "read"),
    ("GET", "/v1/sweeps/{id}/status", "read"),
    ("GET", "/v1/sweeps/{id}/log", "read"),
    ("GET", "/v1/sweeps/{id}/events", "read"),
    ("GET", "/v1/sweeps/{id}/report", "read"),
    ("GET", "/v1/sweeps/{id}/curves", "read"),
    ("GET", "/v1/sweeps/{id}/tree", "read"),
    ("GET", "/v1/sweeps/{id}/links", "read"),
    ("POST", "/v1/validate", "read"),
    ("POST", "/v1/sweeps", "submit"),
    ("POST", "/v1/sweeps/{id}/check", "read"),
    ("POST", "/v1/sweeps/{id}/pause", "submit"),
    ("POST", "/v1/sweeps/{id}/resume", "submit"),
    ("POST", "/v1/sweeps/{id}/cancel", "submit"),
    ("POST", "/v1/sweeps/{id}/extend", "submit"),
    ("GET", "/metrics", "admin"),
]


def test_the_list_above_has_every_route(api: Api) -> None:
    document = requests.get(f"{api.url}/openapi.json", timeout=10).json()
    described = {
        (method.upper(), path): operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    public = {("GET", "/healthz"), ("GET", "/readyz")}
    assert described.keys() == {(method, path) for method, path, _ in ROUTES} | public
    assert {route for route, security in described.items() if not security} == public


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_refuses_every_token_but_the_right_one(api: Api, method: str, path: str, scope: str) -> None:
    path = path.format(id=(id := api.submit("owner")))
    revoked, shown = api.tokens.make("owner", ["admin"])
    api.tokens.revoke(revoked.id)
    wrong = {
        "none": {},
        "empty": {"Authorization": "Bearer "},
        "basic": {"Authorization": "Basic YTpi"},
        "unknown": {"Authorization": "Bearer abel_000000000000_" + "a" * 43},
        "expired": {"Authorization": f"Bearer {api.token('owner', 'admin', expires_ms=now_ms() - 1)}"},
        "revoked": {"Authorization": f"Bearer {shown}"},
    }
    for name, headers in wrong.items():
        answer = api.ask(method, path, {}, of=None, **headers)
        assert answer.status_code in (401, 429), name
        assert answer.headers["content-type"] == "application/problem+json"
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")
    if scope != "read":
        reading = api.token("owner", "read")
        answer = api.ask(method, path, {}, of=None, Authorization=f"Bearer {reading}")
        assert (answer.status_code, answer.json()["detail"]) == (403, f"scope: must be {scope}, got read")
    if id in path:
        body = {"baseline": {}} if path.endswith("/check") else {"seeds": [5]}
        stranger = api.ask(method, path, body, of="stranger")
        unknown = api.ask(
            method,
            path.replace(id, "0" * 16),
            {"baseline": {}} if path.endswith("/check") else {"seeds": [5]},
            of="stranger",
        )
        assert stranger.status_code == 404
        assert stranger.text == unknown.text.replace("0" * 16, id)  # whether it exists cannot be told


def test_while_the_ledger_is_away_it_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Any, text: str) -> NoReturn:
        raise LedgerAway("ledger postgresql://db: cannot be read: connection refused")

    monkeypatch.setattr(Tokens, "known", away)
    answer = api.ask("GET", "/v1/sweeps", of=None, Authorization="Bearer abel_x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_name_is_that_of_the_actors_own_even_for_an_admin(api: Api) -> None:
    api.submit("owner")
    admin = {"of": None, "Authorization": f"Bearer {api.token('root', 'admin')}"}
    assert api.ask("POST", "/v1/sweeps/tiny/cancel", **admin).status_code == 404


def test_an_admin_sees_and_commands_everybodys(api: Api) -> None:
    id = api.submit("owner")
    admin = {"of": None, "Authorization": f"Bearer {api.token('root', 'admin')}"}
    assert api.ask("POST", f"/v1/sweeps/{id}/pause", **admin).json()["wanted"] == "paused"
    owners = {one["owner"] for one in api.ask("GET", "/v1/sweeps", **admin).json()["items"]}
    assert "owner" in owners
    assert {one["owner"] for one in api.ask("GET", "/v1/sweeps", of="owner").json()["items"]} == {"owner"}


def test_commands_and_refusals_are_in_the_audit_log_and_no_token_is(api: Api) -> None:
    id = api.submit("careful")
    api.ask("POST", f"/v1/sweeps/{id}/cancel", of="careful")
    reading = api.token("careful", "read")
    api.ask("POST", "/v1/sweeps", {}, of=None, Authorization=f"Bearer {reading}")
    entries = [(one.action, one.target) for one in api.tokens.audit() if one.actor == "careful"]
    assert entries == [("refused", "/v1/sweeps"), ("cancel", id), ("submit", id)]
    kept = str(api.tokens.audit(1000))
    assert not any(token.split("_", 2)[2] in kept for token in (reading, *api.known.values()))


def test_a_wrong_secret_takes_as_long_as_an_unknown_id(api: Api) -> None:
    _, shown = api.tokens.make("ada", ["read"])
    wrong_secret, unknown = shown[:-4] + "AAAA", "abel_000000000000_" + "a" * 43
    times: dict[str, list[float]] = {wrong_secret: [], unknown: []}
    for _ in range(200):
        for text, spent in times.items():
            began = time.perf_counter()
            assert api.tokens.known(text) is None
            spent.append(time.perf_counter() - began)
    first, second = (statistics.median(spent) for spent in times.values())
    assert max(first, second) < 2 * min(first, second)


def test_another_host_name_is_refused(api: Api) -> None:
    assert api.ask("GET", "/v1/sweeps", Host="evil.example").status_code == 400


def test_health_needs_no_token_and_metrics_count_what_is_open(api: Api) -> None:
    assert requests.get(f"{api.url}/healthz", timeout=10).text == "ok\n"
    assert requests.get(f"{api.url}/readyz", timeout=10).text == "ready\n"
    api.submit("ada")
    admin = {"of": None, "Authorization": f"Bearer {api.token('root', 'admin')}"}
    shown = api.ask("GET", "/metrics", **admin).text
    assert 'abel_submissions{phase="queued"}' in shown
    assert "abel_submissions_failing 0.0" in shown


def test_an_allowance_holds_for_many_threads() -> None:
    allowance, switch = Allowance(rate=0, burst=50), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            taken = sum(pool.map(lambda _: allowance.take("a"), range(20_000)))
    finally:
        sys.setswitchinterval(switch)
    assert taken == 50


def test_an_allowance_is_used_up_and_comes_back() -> None:
    now = [0.0]
    allowance = Allowance(rate=2, burst=3, clock=lambda: now[0])
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")
    now[0] = 0.5
    assert [allowance.take("a") for _ in range(2)] == [True, False]


def test_turns_are_taken_in_order_and_a_dropped_call_takes_none() -> None:
    carried_out, free = list[int](), threading.Event()

    async def take() -> None:
        turns = Turns(1)
        first = asyncio.ensure_future(turns.call(free.wait, 30))
        others = [asyncio.ensure_future(turns.call(carried_out.append, number)) for number in range(4)]
        await asyncio.sleep(0)
        others[1].cancel()
        await asyncio.wait([others[1]])
        free.set()
        await asyncio.gather(first, *others, return_exceptions=True)

    asyncio.run(take())
    assert carried_out == [0, 2, 3]

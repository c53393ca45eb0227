"""Whatever is asked, the service answers in time with what its document says, and each refusal points at its field."""

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import reduce
from itertools import count
from typing import Any

import psutil
import pytest
import requests
from desks import SPEC, Api, desk_over
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Config, GenerationMode, openapi
from schemathesis.checks import positive_data_acceptance
from stories import Story

from services.api import guard, serve
from services.settings import Settings
from sweeps.ledger.ledger import Ledger

SPECS_TRIED = int(os.environ.get("CHAOS_SPECS", "300"))
CASES = int(os.environ.get("CHAOS_CASES", "8"))  # of an operation: valid ones and others, with a known id and any
MOST_SECONDS, MOST_GROWTH_MB = 1.0, 50.0
ROUND = 500  # specs
TRIES = 3  # a slow answer is slow again

VALID, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
PUBLIC = ("healthz", "readyz", "metrics")  # nothing can be chosen
CHOOSING = ("submit", "validate", "sweeps", "extend", "check", "follow", "curves")  # a query, a header or a body
BY_ID = (
    "sweep",
    "status",
    "log",
    "pause",
    "resume",
    "cancel",
    "extend",
    "check",
    "follow",
    "curves",
    "tree",
    "links",
    "report",
)
WAYS = [
    *((name, VALID, False) for name in {*PUBLIC, *CHOOSING, *BY_ID}),
    *((name, VALID, True) for name in BY_ID if name != "report"),  # which takes seconds
    *((name, WRONG, False) for name in {*CHOOSING, *BY_ID}),
    *((name, WRONG, True) for name in BY_ID if name in CHOOSING),
]
# What is valid by the schema of a body may still be no spec; a sweep may have no report yet.
REFUSING = ("submit", "validate", "extend", "check", "report")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service that does not count requests, and has imported what a started one has."""
    serve._prepare()
    home = tmp_path_factory.mktemp("service")
    ledger = Ledger.open(Settings.from_env({"ABEL_HOME": str(home)}).prepare().ledger_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "BURST", 1e9)
        with desk_over(ledger, home) as made:
            yield made
    ledger.close()


@pytest.fixture(scope="module")
def ended(api: Api) -> str:
    """The id of a submission that has ended, with a sweep."""
    story = Story(
        api.ledger, seeds=1, epochs=12, decays=(4,), spec={name: SPEC[name] for name in ("program", "epochs", "arms")}
    )
    story.begin().tell().end()
    one, _ = api.queue.submit("ada", story.name, SPEC, {})
    number = api.queue.count_launch(one, None)
    assert number is not None
    api.queue.take(one.id, number)
    api.queue.renew(one.id, number, sweep_id=story.sweep_id)
    api.queue.release(one.id, number, outcome="finished")
    return one.id


@pytest.fixture(scope="module")
def schema(api: Api) -> Any:
    """The document, without tokens: who may ask has its own tests."""
    document = requests.get(f"{api.url}/openapi.json", timeout=20).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return openapi.from_dict(document, config=Config())


def in_time(ask: Callable[[], Any]) -> Any:
    """An answer, and no slow one: by this process's CPU time, as a machine may be busy; hanging is an error of the client's."""
    for left in reversed(range(TRIES)):
        began = time.process_time()
        answer = ask()
        seconds = time.process_time() - began
        if seconds < MOST_SECONDS:
            return answer
        assert left, f"{seconds:.2f} s"
    raise AssertionError


def generated(most: int) -> Callable[[Any], Any]:
    """Settings of so many examples, the same at every run."""
    quiet = list(HealthCheck)
    return settings(max_examples=most, derandomize=True, database=None, deadline=None, suppress_health_check=quiet)


def test_every_operation_is_tried(schema: Any) -> None:
    assert {name for name, _, _ in WAYS} == {
        one.ok().definition.raw["operationId"] for one in schema.get_all_operations()
    }


@pytest.mark.parametrize(("name", "mode", "known"), sorted(WAYS), ids=lambda value: str(getattr(value, "value", value)))
def test_every_operation_does_what_the_document_says(
    api: Api, schema: Any, ended: str, name: str, mode: str, known: bool
) -> None:
    operation = schema.find_operation_by_id(name)
    fixed = {"path_parameters": {"id": ended}} if known else {}
    token = {"Authorization": f"Bearer {api.token('ops', 'read', 'submit', 'admin')}"}
    excluded = [positive_data_acceptance] if name in REFUSING else []

    @generated(CASES)
    @given(case=operation.as_strategy(mode, **fixed))
    def ask(case: Any) -> None:
        response = in_time(lambda: case.call(base_url=api.url, headers=token, timeout=20))
        case.validate_response(
            response, excluded_checks=excluded, headers=token, transport_kwargs={"base_url": api.url}
        )

    ask()


BIG = {"name": "tiny", "notes": "x" * 300_000}
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
    "a long text": (json.dumps({"spec": "[" + "1," * 20_000 + "1]"}).encode(), 422, "/spec"),
    "many values": (json.dumps({"spec": {"name": [1] * 80_000}}).encode(), 422, "/spec/name"),
    "a spec of numbers": (b'{"spec": 5}', 422, "/spec"),
}
CONSTANT = {"schedule": {"kind": "constant"}}


def rated(rate: Any) -> dict[str, Any]:
    """An arm with this learning rate."""
    return {"arms": {"a": {"schedule": {"kind": "constant", "learning_rate": rate}}}}


def gridded(**values: Any) -> dict[str, Any]:
    """An arm with these values in its grid; of a path, `__` is a dot."""
    grid = {name.replace("__", "."): value for name, value in values.items()}
    return {"arms": {"a": CONSTANT | {"grid": grid}}}


def programmed(**fields: Any) -> dict[str, Any]:
    """A program with these fields."""
    return {"program": SPEC["program"] | fields}


RATE = "/spec/arms/a/schedule/learning_rate"
RATES = "/spec/arms/a/grid/schedule.learning_rate"
THOUSAND = {"log_range": [0.001, 1], "count": 1000}
SPECS = {
    "a path as name": ({"name": "../../etc/passwd"}, "/spec/name"),
    "a control character": ({"name": "a\x00b"}, "/spec/name"),
    "right to left": ({"name": "tiny\u202ecod"}, "/spec/name"),
    "a long name": ({"name": "n" * 10_000}, "/spec/name"),
    "a billion points": (gridded(schedule__learning_rate={"log_range": [0.001, 1], "count": 10**9}), RATES),
    "a million trials": (gridded(schedule__learning_rate=THOUSAND, program__l2=THOUSAND), "/spec"),
    "a log range from zero": (gridded(schedule__learning_rate={"log_range": [0, 1], "count": 3}), RATES),
    "a range downwards": (gridded(schedule__learning_rate={"log_range": [1, 0.1], "count": 3}), RATES),
    "a rate that is no number": (rated(float("nan")), RATE),
    "a rate without bound": (rated(float("inf")), RATE),
    "a rate as text": (rated("nan"), RATE),
    "a rate that is true": (rated(True), RATE),
    "a rate of zero": (rated(0), RATE),
    "no epochs": ({"epochs": 0}, "/spec/epochs"),
    "a batch beyond any data": (programmed(batch_size=10**12), "/spec/program/batch_size"),
    "a homoglyph": ({"name": "tіny"}, "/spec/name"),
    "an arm with a path as name": ({"arms": {"a/../b": CONSTANT}}, "/spec/arms"),
    "an arm with a long name": ({"arms": {"a" * 300: CONSTANT}}, "/spec/arms"),
    "an unknown kind": (programmed(optimizer={"kind": "os"}), "/spec/program/optimizer"),
    "flags of a compiler": (programmed(env={"XLA_FLAGS": "--xla_dump_to=/"}), "/spec/program/env"),
    "resources that are no number": ({"resources": {"gpu": float("nan")}}, "/spec/resources/gpu"),
    "less than no resources": ({"resources": {"cpu": -1}}, "/spec/resources/cpu"),
    "a file of another": (programmed(data={"kind": "digits", "path": "file:///etc"}), "/spec/program/data/path"),
    "epochs without end": ({"epochs": 10**12}, "/spec/epochs"),
    "a negative rate": (rated(-1), RATE),
    "a million GPUs": ({"resources": {"gpu": 10**6}}, "/spec/resources/gpu"),
    "an unknown field": ({"artifacts": "s3://other"}, "/spec/artifacts"),
    "a trainable": ({"program": {"task": "os:system"}}, "/spec/program/task"),
    "no seeds": ({"seeds": []}, "/spec/seeds"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused_with_their_field(api: Api, name: str) -> None:
    body, status, at = HOSTILE[name]
    answer = in_time(lambda: api.ask("POST", "/v1/sweeps", body))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if at:
        assert at in [one["pointer"] for one in answer.json()["errors"]], answer.json()


@pytest.mark.parametrize("name", SPECS)
def test_hostile_specs_are_refused_with_their_field(api: Api, name: str) -> None:
    changes, at = SPECS[name]
    answer = in_time(lambda: api.ask("POST", "/v1/sweeps", json.dumps({"spec": SPEC | changes}).encode()))
    assert answer.status_code == 422, answer.text
    assert any(one["pointer"].startswith(at) for one in answer.json()["errors"]), answer.json()


KEYS = st.sampled_from([*SPEC, "kind", "schedule", "x"])
NASTY = st.sampled_from(
    [
        *(float("nan"), float("inf"), -0.0, 5e-324, 1.7e308, 10**400, -(2**63), 2**53 + 1, True, "nan", "", " "),
        *("\ud800", "\u202e", "a\0b", "../../etc", "os:system", "${HOME}", "!!python/name:os.system", "x" * 10_000),
        *([[[[[[[[[[]]]]]]]]]], [0.1] * 3000, [{}], {"": {}}, {"a.b": 1}, {"~/": 1}, {"kind": []}, {"kind": "x" * 500}),
        *({"range": [0, 1e300], "step": 1e-300}, {"log_range": [1e-300, 1e300], "count": 10**6}, {"log_range": [0, 0]}),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NASTY,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS | st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)


def paths(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a document but itself."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*above, key)
        yield from paths(value, (*above, key))


PLACES = list(paths(SPEC))


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """The spec with up to three values replaced, removed or added."""
    spec = deepcopy(SPEC)
    for path in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        try:
            within = reduce(lambda value, key: value[key], path[:-1], spec)
            match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
                case "replace":
                    within[path[-1]] = draw(JSON)
                case "remove":
                    del within[path[-1]]
                case "add":
                    within[draw(KEYS | st.text(max_size=8))] = draw(JSON)
        except (LookupError, TypeError):
            continue  # another change has removed the place
    return spec


def is_at_a_field(pointer: str, body: Any) -> bool:
    """Whether a JSON pointer leads to a value of the body, or to one that it lacks within one that it has."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    value = body
    for left, part in zip(reversed(range(len(parts))), parts, strict=True):
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (LookupError, TypeError, ValueError):
            return left == 0
    return True


def test_whatever_a_spec_is_made_of_it_is_read_or_refused_at_its_field(api: Api) -> None:
    asked, memory = count(), []
    process = psutil.Process()
    token = {"Authorization": f"Bearer {api.token('ada')}", "Content-Type": "application/json"}
    session = requests.Session()
    seconds = []

    def ask(spec: dict[str, Any], as_text: bool) -> None:
        body = {"spec": json.dumps(spec) if as_text else spec}
        raw = json.dumps(body).encode()

        def send(path: str) -> requests.Response:
            began = time.monotonic(), time.process_time()
            answer = session.post(api.url + path, raw, headers=token, timeout=20)
            seconds.append((time.monotonic() - began[0], time.process_time() - began[1]))
            return answer

        answer = in_time(lambda: send("/v1/validate"))
        if next(asked) == SPECS_TRIED // 10:
            memory.append(process.memory_info().rss)
        if answer.status_code == 200:
            made = in_time(lambda: send("/v1/sweeps"))
            assert made.status_code == 201, made.text
            api.queue.settle(made.json()["id"], "cancelled")
            return
        assert answer.status_code in (400, 413, 422), answer.text
        errors = answer.json().get("errors", [])
        assert errors or answer.status_code != 422
        for error in errors:
            assert as_text and error["pointer"].startswith("/spec") or is_at_a_field(error["pointer"], body), error

    began = time.monotonic()
    for first in range(0, SPECS_TRIED, ROUND):  # hypothesis remembers a round
        given_specs = given(spec=specs(), as_text=st.sampled_from([False, False, False, True]))
        seed(first)(generated(min(ROUND, SPECS_TRIED - first))(given_specs(ask)))()
        gc.collect()
    slowest, longest = (max(column) for column in zip(*seconds, strict=True))
    took = f"{time.monotonic() - began:.0f} s, the slowest answer {slowest:.2f} s, {longest:.2f} s of CPU"
    before, after = memory[0] / 2**20, process.memory_info().rss / 2**20
    print(f"{SPECS_TRIED} specs: {took}, {before:.0f} MB after a tenth, {after:.0f} MB at the end")
    assert after - before < MOST_GROWTH_MB

"""The OpenAPI document: every operation is described, and each of its examples is valid by its own schema and by the service."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from desks import Api
from jsonschema import Draft202012Validator

from sweeps.results.baseline import parse_baseline

METHODS = ("get", "post", "put", "patch", "delete")
PROBLEMS = "application/problem+json"
TEXT = {"type": "string"}  # what a stream is as a whole


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    """The document as the service gives it to anybody."""
    return requests.get(f"{api.url}/openapi.json", timeout=20).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        yield from ((f"{method} {path}", found[method]) for method in METHODS if method in found)


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each media type of a body and of each response."""
    yield from (("body", content) for content in operation.get("requestBody", {}).get("content", {}).values())
    for status, response in operation["responses"].items():
        yield from ((status, content) for content in response.get("content", {}).values())


def values(described: dict[str, Any]) -> list[Any]:
    """The examples of a content or of a parameter."""
    return [one["value"] for one in described.get("examples", {}).values()] + [
        described[name] for name in ("example",) if name in described
    ]


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    names = {operation["operationId"] for _, operation in operations(document)}
    assert {"submit", "validate", "sweeps", "pause", "extend", "check", "follow", "readyz", "metrics"} <= names
    assert len(names) == len(list(operations(document))) >= 18


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"] and operation["description"], name
        assert any(status.startswith("2") for status in operation["responses"]), name
        assert all(found["description"] != "Successful Response" for found in operation["responses"].values()), name


def test_every_body_and_every_answer_has_examples(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert response["content"], f"{name}: {status}"
        for where, content in contents(operation):
            assert values(content), f"{name}: {where}"


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        refused = {status: found for status, found in operation["responses"].items() if status >= "4"}
        assert all(set(found["content"]) == {PROBLEMS} for found in refused.values()), name
        assert name == "get /healthz" or "503" in refused, name
        if operation.get("security"):
            assert {"401", "403", "429"} <= refused.keys(), name
        if "{id}" in name:
            assert {"404", "422"} <= refused.keys(), name
        if "requestBody" in operation:
            assert {"400", "408", "413", "415", "422"} <= refused.keys(), name


def test_every_example_is_valid_by_its_schema(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for where, content in contents(operation):
            for value in values(content):
                assert faults(document, content.get("schema", TEXT), value) == [], f"{name}: {where}: {value}"
        for parameter in operation.get("parameters", []):
            for value in values(parameter):
                assert faults(document, parameter["schema"], value) == [], f"{name}: {parameter['name']}"


def test_the_schemas_refuse_what_is_no_example(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert faults(document, body, {"workers": 2}) and faults(document, body, {"spec": {}, "priority": 101})
    extend = document["paths"]["/v1/sweeps/{id}/extend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert faults(document, extend, {}) and not faults(document, extend, {"epochs": 3})


def test_every_example_of_a_body_is_accepted(api: Api, document: dict[str, Any]) -> None:
    id = api.submit("exemplar")
    read = {name: operation for name, operation in operations(document) if "requestBody" in operation}
    assert len(read) == 4
    for name, operation in read.items():
        path = name.removeprefix("post ").replace("{id}", id)
        for value in values(operation["requestBody"]["content"]["application/json"]):
            if path.endswith("/check"):  # which needs a sweep that has ended
                assert parse_baseline(json.dumps(value["baseline"]), "here").arms
            else:
                answer = api.ask("POST", path, value, of="exemplar")
                assert answer.status_code in (200, 201), answer.text

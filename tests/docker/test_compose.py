"""The compose file: it fits its schema, publishes one port on loopback, runs nobody as root, and holds no password.

`compose.json` is the schema of the Compose specification (Apache-2.0), without descriptions.
"""

import json
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pages import ROOT

from services.variables import ledger_url_of, tracking_uri_of

FOLDER = ROOT / "docker"
TEXT = (FOLDER / "compose.yaml").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(TEXT)
    return document


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_it_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(Path(__file__).with_name("compose.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(compose)] == []
    compose["services"]["store"]["ports"] = 9000
    assert len(list(Draft7Validator(schema).iter_errors(compose))) == 1


def test_it_has_every_part_of_the_service(services: dict[str, dict[str, Any]]) -> None:
    assert {"ray-head", "ray-worker", "postgres", "mlflow", "store", "service"} <= set(services)
    assert services["ray-worker"]["deploy"]["replicas"] == 2


def test_only_the_service_is_published_and_only_here(
    services: dict[str, dict[str, Any]], compose: dict[str, Any]
) -> None:
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert published == {"service": ["127.0.0.1:8900:8900"]}
    assert compose["networks"]["inside"] == {"internal": True}
    assert all(
        one.get("networks") == ["inside"] for name, one in services.items() if name not in ("service", "store-owner")
    )


def test_no_container_is_root_or_may_write_to_its_image(services: dict[str, dict[str, Any]]) -> None:
    for name, one in services.items():
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", one["user"]), name
        assert one["read_only"] and one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, one in services.items():
        _, colon, tag = one["image"].partition(":")
        assert colon and tag != "latest" and re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag), name
        if one["image"].startswith("abel-sweeps"):
            assert tag == VERSION, name


def test_what_is_built_is_a_target(services: dict[str, dict[str, Any]]) -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    for name, one in services.items():
        if "build" in one:
            assert one["build"]["target"] in targets, name
            assert (FOLDER / one["build"]["context"] / one["build"]["dockerfile"]).is_file(), name
            assert one["image"] == f"abel-sweeps-{one['build']['target']}:{VERSION}", name


def test_what_is_waited_for_can_be_healthy(services: dict[str, dict[str, Any]]) -> None:
    for name, one in services.items():
        for other, rule in one.get("depends_on", {}).items():
            assert rule["condition"] != "service_healthy" or "healthcheck" in services[other], f"{name}: {other}"


def test_volumes_secrets_and_configs_are_declared(services: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    parts = [volume for one in services.values() for volume in one.get("volumes", ())]
    named = {volume["source"] if isinstance(volume, dict) else volume.partition(":")[0] for volume in parts}
    assert named == set(compose["volumes"])
    assert {name for one in services.values() for name in one.get("secrets", ())} == set(compose["secrets"])
    configs = {config["source"] for one in services.values() for config in one.get("configs", ())}
    assert configs == set(compose["configs"])
    assert all((FOLDER / one["file"]).is_file() for one in compose["configs"].values())


def test_the_ray_cluster_asks_for_the_token_that_the_service_has(services: dict[str, dict[str, Any]]) -> None:
    for name in ("ray-head", "ray-worker", "service"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert services[name]["secrets"] == ["ray_token"]
    assert services["service"]["environment"]["ABEL_SERVE_RAY_JOBS"] == "http://ray-head:8265"


def test_the_file_holds_no_password() -> None:
    assert not re.search(r"://[^/\s]*:[^/\s]*@", TEXT)
    assert not re.search(r"(PASSWORD|SECRET|TOKEN)\w*: (?!/run/secrets/)\S{8}", TEXT)


def test_the_secrets_are_made_once_and_kept_from_others(
    tmp_path: Path, compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    made = tmp_path / "secrets"
    command = ["sh", str(FOLDER / "secrets.sh"), str(made)]
    for said in ("made", "kept"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == f"{said} {made}\n"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    there = {file.name for file in made.iterdir()}
    asked = {Path(one["file"]).name for one in compose["secrets"].values()}
    asked |= {Path(file).name for one in services.values() for file in one.get("env_file", ())}
    assert there == asked
    assert [path.name for path in tmp_path.iterdir()] == ["secrets"]
    given = dict(line.split("=", 1) for file in made.glob("*.env") for line in file.read_text().splitlines())
    ledger_url_of("ABEL_LEDGER", given["ABEL_LEDGER"])
    tracking_uri_of("MLFLOW_BACKEND_STORE_URI", given["MLFLOW_BACKEND_STORE_URI"])
    assert (made / "postgres_password").read_text() in given["ABEL_LEDGER"]
    assert given["AWS_SECRET_ACCESS_KEY"] == given["MINIO_ROOT_PASSWORD"]
    assert (
        len(
            {(made / "ray_token").read_text(), (made / "postgres_password").read_text(), given["AWS_SECRET_ACCESS_KEY"]}
        )
        == 3
    )

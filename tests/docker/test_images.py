"""The Dockerfile: pinned by digests, without root, built from what is there; and, where buildah is, built and used."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pages import ROOT

FOLDER = ROOT / "docker"
TEXT = (FOLDER / "Dockerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)

# The Debian root that stands for the base image:
#   mmdebstrap --variant=minbase --include=python3,python3-venv,python-is-python3,ca-certificates bookworm root.tar
BASE_ROOT = os.environ.get("IMAGES_ROOT", "")


def pins(file: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(file.read_text()):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


@pytest.mark.parametrize("name", ["build", "runtime", "cuda", "tpu"])
def test_a_lock_has_digests_and_the_tested_versions(name: str) -> None:
    file = FOLDER / "locks" / f"{name}.lock"
    tested, found = pins(ROOT / "requirements.lock"), pins(file)
    assert (
        found and {one: versions for one, versions in found.items() if not versions <= tested.get(one, versions)} == {}
    )
    entries = re.split(r"\n(?=\S)", file.read_text().split("make lock\n", 1)[1].strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_images_have_every_dependency_and_no_tool_of_development() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {canonicalize_name(re.split(r"[\[>=< ]", one)[0]) for one in project["dependencies"]}
    runtime = set(pins(FOLDER / "locks" / "runtime.lock"))
    assert names <= runtime
    assert not runtime & {"pytest", "mypy", "ruff", "playwright", "mkdocs-material", "moto"}
    assert "aiohttp-cors" in runtime  # of ray[default], which the head needs to take jobs


def test_every_target_ends_without_root() -> None:
    stages = re.split(r"(?m)^FROM ", TEXT)[1:]
    users: dict[str, str | None] = {}
    for stage in stages:
        base, name = re.match(r"(\S+) AS (\S+)", stage).groups()  # type: ignore[union-attr]
        said = re.findall(r"(?m)^USER (\S+)$", stage)
        users[name] = said[-1] if said else users.get(base)
    assert {name: users[name] for name in ("cpu", "cuda", "tpu", "service")} == dict.fromkeys(
        ("cpu", "cuda", "tpu", "service"), "10001:10001"
    )


def test_the_base_image_is_one_and_pinned() -> None:
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", TEXT))
    bases = set(re.findall(r"(?m)^FROM (\S+)", TEXT)) - stages
    (base,) = bases
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)


def test_what_is_copied_reaches_the_build() -> None:
    copied = [word for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", TEXT) for word in line.split()]
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(path == one or path.startswith(f"{one}/") for one in let_in), path


def test_the_commands_of_the_file_name_this_version() -> None:
    assert f"abel-sweeps-cpu:{VERSION}" in TEXT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("buildah") is None or os.getuid() != 0, reason="needs buildah, as root")
@pytest.mark.skipif(not BASE_ROOT, reason="takes half an hour; IMAGES_ROOT names a Debian root file system, as a tar")
def test_the_image_is_built_and_runs_a_sweep(tmp_path: Path) -> None:
    storage = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    (base,) = set(re.findall(r"(?m)^FROM (\S+:\S+)", TEXT))
    shared = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
    volumes = [word for path in shared for word in ("--volume", f"{path}:{path}:ro")]

    def buildah(*words: str) -> str:
        env = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(["buildah", *words], capture_output=True, text=True, timeout=3600, check=False, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    root = buildah("from", *storage, "scratch")
    buildah("add", *storage, "--quiet", root, BASE_ROOT, "/")
    buildah("commit", *storage, "--quiet", "--rm", root, f"docker.io/library/{base}")
    ignored = ["--ignorefile", f"{FOLDER}/Dockerfile.dockerignore"]
    building = ["--pull-never", "--layers", *ignored, *volumes, "--file", f"{FOLDER}/Dockerfile"]
    buildah("build", *storage, *building, "--target", "cpu", "--tag", "abel", str(ROOT))
    made = buildah("from", *storage, "--pull-never", "abel")
    assert buildah("run", *storage, made, "--", "id", "-u") == "10001"
    assert "finished" in buildah("run", *storage, made, "--", "abel", "run", "fig-s6a-digits", "--json")

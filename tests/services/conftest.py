"""Disks, servers and browsers."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import MlflowServer
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
WAIT_MS = 30_000


@dataclass(frozen=True)
class SmallDisk:
    """A file system of 24 MiB."""

    place: Path

    def fill(self) -> None:
        """Leave no room on it."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"0" * 4096)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mounted for a test."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield SmallDisk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[MlflowServer]:
    """A real MLflow server over a database of its own."""
    directory = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, directory / "mlflow.db")
    with MlflowServer(f"sqlite:///{directory / 'mlflow.db'}", directory) as running:
        yield running


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser that reaches this machine only; what else it asks for is a failure."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        opened = browser.new_page(viewport={"width": 1680, "height": 1000})
        opened.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        opened.on(
            "request", lambda request: outside.append(request.url) if "://127.0.0.1:" not in request.url else None
        )
        opened.route(lambda url: "://127.0.0.1:" not in url, lambda route: route.abort())
        yield opened
        browser.close()
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []


@pytest.fixture(scope="session")
def everything() -> Callable[[str, str], dict[str, Any]]:
    """All that a store shows of a sweep, by the runs' names and without the ids that a store draws itself."""
    from services.tracking.runs import MlflowClient, sweep_runs

    def read(uri: str, sweep_id: str) -> dict[str, Any]:
        client = MlflowClient(uri)
        runs = list(sweep_runs(client, sweep_id))
        names = {run.info.run_id: run.info.run_name for run in runs}
        assert len(set(names.values())) == len(runs)
        return {
            run.info.run_name: {
                "status": (run.info.status, run.info.start_time, run.info.end_time),
                "parameters": run.data.params,
                "tags": {tag: names.get(text, text) for tag, text in run.data.tags.items()},
                "data": [(used.dataset.name, used.dataset.digest) for used in run.inputs.dataset_inputs],
                "files": [item.path for item in client.list_artifacts(run.info.run_id)],
                "points": {
                    key: [(p.step, repr(p.value), p.timestamp) for p in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics
                },
            }
            for run in runs
        }

    return read

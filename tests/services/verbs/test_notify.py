"""Tests for `services/verbs/notify.py`: a real server, a real shell, and the real command."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from services.cli import options
from services.cli.app import app
from services.schemas import Request
from services.settings import Settings, SettingsError
from services.verbs import notify
from services.verbs import run as runs
from services.verbs.notify import Notice
from workers.config import Program, to_dict

SECRET = "T0PSECRET"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "RETRY", {**notify.RETRY, "backoff_factor": 0})


class Listener:
    """A server that keeps what it gets; it answers with `answers`, one after the other, the last one for good."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.got = list(answers), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                status = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status == 302:
                    self.send_header("Location", "file:///etc/passwd")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"http://user:{SECRET}@{self.host}/hooks/{SECRET}?key={SECRET}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    started: list[Listener] = []

    def start(*answers: int) -> Listener:
        started.append(Listener(*answers or (200,)))
        return started[-1]

    yield start
    for listener in started:
        listener.close()


def settings(**environ: Any) -> Settings:
    return Settings.from_env({"ABEL_HOME": os.environ["ABEL_HOME"], **environ})


def told(**environ: Any) -> list[Any]:
    """Deliver a notice; what is complained of."""
    complaints = []
    notice = Notice(event="finished", sweep="mine", id="0" * 12, status="finished", time="2026-11-25T21:40:00+00:00")
    notify.tell(settings(**environ), lambda: notice, complaints.append)
    return complaints


def test_a_post_that_is_taken_is_sent_once(listen: Callable[..., Listener]) -> None:
    listener = listen(204)
    assert told(ABEL_NOTIFY_URL=listener.url) == []
    ((path, body),) = listener.got
    assert path == f"/hooks/{SECRET}?key={SECRET}"
    assert (body["event"], body["sweep"], body["id"], body["measures"]) == ("finished", "mine", "0" * 12, None)


def test_a_server_in_trouble_is_asked_again(listen: Callable[..., Listener]) -> None:
    listener = listen(503, 429, 200)
    assert told(ABEL_NOTIFY_URL=listener.url) == []
    assert len(listener.got) == 3


@pytest.mark.parametrize(
    ("status", "times"),
    [(500, 3), (404, 1), (302, 1)],  # a redirection is not followed, to whatever scheme
)
def test_a_server_that_refuses_is_complained_of_without_its_secret(
    listen: Callable[..., Listener], capfd: pytest.CaptureFixture[str], status: int, times: int
) -> None:
    listener = listen(status)
    assert told(ABEL_NOTIFY_URL=listener.url) == [
        f"The notice 'finished' did not reach http://{listener.host}: it must answer 2xx, got {status}"
    ]
    assert len(listener.got) == times
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_not_there_is_complained_of_without_its_secret(
    free_port: Callable[[], int], capfd: pytest.CaptureFixture[str]
) -> None:
    (complaint,) = told(ABEL_NOTIFY_URL=f"http://u:{SECRET}@127.0.0.1:{free_port()}/{SECRET}")
    assert "it cannot be reached (ConnectionError)" in complaint
    assert SECRET not in complaint
    assert capfd.readouterr() == ("", "")


def test_a_server_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "POST_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        (complaint,) = told(ABEL_NOTIFY_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert "it must answer within 0.2 s" in complaint
    assert time.monotonic() - began < 5


def test_a_server_that_answers_byte_by_byte_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "LONGEST_POST_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as drip:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = drip.accept()
            with connection:
                while not ended.wait(0.05):
                    connection.send(b"H")

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        (complaint,) = told(ABEL_NOTIFY_URL=f"http://127.0.0.1:{drip.getsockname()[1]}/")
        ended.set()
        thread.join()
    assert "it must answer within 10 s" in complaint
    assert time.monotonic() - began < 5


def test_a_command_gets_the_notice_and_the_variables(tmp_path: Path) -> None:
    command = f'cat > {tmp_path}/body; echo "$ABEL_EVENT $ABEL_SWEEP $ABEL_SWEEP_ID $ABEL_STATUS" > {tmp_path}/words'
    assert told(ABEL_NOTIFY_COMMAND=command) == []
    assert json.loads((tmp_path / "body").read_text())["event"] == "finished"
    assert (tmp_path / "words").read_text() == f"finished mine {'0' * 12} finished\n"


def test_what_a_command_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert told(ABEL_NOTIFY_COMMAND="echo seen") == []
    assert capfd.readouterr() == ("", "seen\n")


def test_a_command_that_fails_is_complained_of() -> None:
    assert told(ABEL_NOTIFY_COMMAND="exit 7") == ["The notice 'finished': ABEL_NOTIFY_COMMAND must exit with 0, got 7"]


def test_a_command_that_does_not_end_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 0.3)
    (complaint,) = told(ABEL_NOTIFY_COMMAND="sleep 100 & sleep 100")  # the fixture of all tests finds what is left
    assert complaint.endswith("was killed; it must finish within 0.3 s")


def test_a_notice_that_cannot_be_made_is_complained_of(listen: Callable[..., Listener]) -> None:
    listener, complaints = listen(), []

    def broken() -> NoReturn:
        raise RuntimeError("no measures")

    notify.tell(settings(ABEL_NOTIFY_URL=listener.url), broken, complaints.append)
    assert complaints == ["No notice was sent: RuntimeError: no measures"]
    assert listener.got == []


@pytest.mark.parametrize("url", ["ftp://u:s@h/s", "file:///etc/s", "h/s", "http://", "http://h:port/s", "https://[h/s"])
def test_a_url_that_is_none_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="ABEL_NOTIFY_URL: must be a") as refused:
        settings(ABEL_NOTIFY_URL=url).check("notify_url")
    assert "/s" not in str(refused.value).replace("://", "")
    assert "u:s" not in str(refused.value)


def test_settings_do_not_show_their_secrets() -> None:
    assert SECRET not in repr(settings(ABEL_NOTIFY_URL=f"https://h/{SECRET}", ABEL_NOTIFY_COMMAND=SECRET))


def test_a_run_that_breaks_down_is_told(listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("the cluster is gone")

    listener = listen()
    monkeypatch.setattr(runs, "run", breaks)
    with pytest.raises(RuntimeError):
        options.carry_out(settings(ABEL_NOTIFY_URL=listener.url), Request(spec="mine.yaml"), quiet=True)
    ((_, body),) = listener.got
    assert (body["event"], body["sweep"], body["error"]) == (
        "failed",
        "mine.yaml",
        "RuntimeError: the cluster is gone",
    )


def spec(program: dict[str, Any], rate: float = 0.05) -> dict[str, Any]:
    schedule = {"kind": "decay_at", "learning_rate": rate, "decay_factor": 0.1}
    arm = {"schedule": schedule, "grid": {"schedule.decay_epoch": [1, 2]}}
    return {"name": "told", "program": program, "epochs": 3, "seeds": [0, 1], "arms": {"at": arm}}


def run(file: Path, *options: Any, **environ: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "run", str(file), "--no-tracking", "--workers", "1", *options]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_tells_of_the_end_of_a_sweep_and_of_a_regression(
    tiny_program: Program, listen: Callable[..., Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, file = listen(), tmp_path / "spec.json"
    file.write_text(json.dumps(spec(to_dict(tiny_program))))
    hook = f"cat > {tmp_path}/body; echo listened"
    done = run(file, "--json", ABEL_NOTIFY_URL=listener.url, ABEL_NOTIFY_COMMAND=hook)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "listened" in done.stderr
    assert SECRET not in done.stderr
    ((_, body),) = listener.got
    assert json.loads((tmp_path / "body").read_text()) == body
    assert (body["event"], body["sweep"], body["status"]) == ("finished", "told", "finished")
    assert body["id"] == result["detail"]["sweep"]["id"]
    assert body["trials"] == {"total": 4, "ended": 4, "diverged": 0, "failed": 0, "cancelled": 0, "stopped": 0}
    errors = [trial["minimum_error"] for trial in result["detail"]["trials"]]
    assert body["measures"]["at"]["mean"]["value"] == pytest.approx(sum(errors) / 4)

    monkeypatch.setenv("ABEL_NOTIFY_URL", listener.url)
    again = CliRunner().invoke(app, ["run", str(file), "--no-tracking"])  # nothing to do is no news
    assert (again.exit_code, len(listener.got)) == (0, 1)

    baseline = tmp_path / "baseline.json"
    baseline.write_text(CliRunner().invoke(app, ["baseline", "save", "told"]).stdout)
    check = ["check", "told", "--baseline", str(baseline), "--margin", "mean=100", "--rule"]
    assert CliRunner().invoke(app, [*check, "mean <= 100"]).exit_code == 0
    assert len(listener.got) == 1
    assert CliRunner().invoke(app, [*check, "mean <= 0.0001"]).exit_code == 1
    told = listener.got[1][1]
    assert (told["event"], told["sweep"], told["id"]) == ("regressed", "told", body["id"])
    assert {finding["what"]: finding["verdict"] for finding in told["findings"]}["mean <= 0.0001"] == "regressed"


BROKEN = """
from dataclasses import dataclass
from workers.optimizers.sgd import Sgd

@dataclass(frozen=True, kw_only=True)
class Broken(Sgd):
    kind: str = "broken"

    def transform(self, hyper):
        return super().transform(hyper)._replace(update=fail)

def fail(*given, **named):
    raise RuntimeError("this optimiser takes no step")
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_failed_sweep_is_told_and_its_exit_code_stays_whoever_listens(
    tiny_program: Program, listen: Callable[..., Listener], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    listener, file = listen(), tmp_path / "spec.json"
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    entry = "[abel.optimizers]\nbroken = broken:Broken\n"
    (tmp_path / "broken-1.dist-info" / "entry_points.txt").write_text(entry)
    file.write_text(json.dumps(spec(to_dict(tiny_program) | {"optimizer": "broken"})))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(file, PYTHONPATH=path, ABEL_NOTIFY_URL=listener.url)
    assert done.returncode == 1, done.stderr
    ((_, body),) = listener.got
    assert (body["event"], body["status"], body["trials"]["failed"]) == ("failed", "failed", 4)
    nobody = f"http://127.0.0.1:{free_port()}/{SECRET}"
    again = run(file, PYTHONPATH=path, ABEL_NOTIFY_URL=nobody, ABEL_NOTIFY_COMMAND="exit 3")
    assert again.returncode == 1
    assert "did not reach http://127.0.0.1" in again.stderr
    assert "ABEL_NOTIFY_COMMAND must exit with 0, got 3" in again.stderr
    assert SECRET not in again.stderr

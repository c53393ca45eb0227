"""Notices of how a sweep ended: JSON to a webhook, and to the standard input of a shell command.

    {"event": "finished", "sweep": "mine", "id": "9c2b…", "status": "finished", "time": "2026-11-25T21:40:00+00:00", …}

A run sends *finished* or *failed*, also one of the service; `abel check` sends *regressed*. A run that was interrupted or
cancelled, or had nothing to do, sends nothing. A notice that cannot be delivered causes a warning and changes nothing else.
"""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from services.encoding import to_json
from services.refusals import INPUT_ERRORS
from services.schemas import Checked, Request, RunResult
from services.settings import Settings
from sweeps.ledger.records import SweepStatus
from sweeps.results.values import Finding, Interval, Verdict
from sweeps.urls import masked, origin

FAILURES = (SweepStatus.FAILED, SweepStatus.NO_SPACE)
POST_SECONDS = 10.0  # to connect, and between two bytes of a response
LONGEST_POST_SECONDS = 35.0  # all tries and the pauses between them; a response may come byte by byte
COMMAND_SECONDS = 60.0
# A receiver may get a notice twice. Retry-After is ignored: the server could ask for an hour.
RETRY: Mapping[str, Any] = MappingProxyType(
    {
        "total": 2,
        "backoff_factor": 1.0,
        "status_forcelist": (429, 500, 502, 503, 504),
        "allowed_methods": None,
        "respect_retry_after_header": False,
        "raise_on_status": False,
    }
)
# An abel command in the hook sends no notices itself.
SILENT: Mapping[str, str] = {"ABEL_NOTIFY_URL": "", "ABEL_NOTIFY_COMMAND": ""}


@dataclass(frozen=True, kw_only=True)
class Trials:
    """How many trials a sweep has, and how they ended."""

    total: int
    ended: int
    diverged: int
    failed: int
    cancelled: int
    stopped: int


@dataclass(frozen=True, kw_only=True)
class Notice:
    """The content of a notice: a finished sweep has its measures by arm and name, a regressed one its findings.

    Args:
        event: "finished", "failed" or "regressed".
        status: the sweep's status, or the verdict.
        time: when the notice was made, ISO 8601 in UTC.
        id: of the sweep; None if the run crashed, where ``sweep`` is the requested name or file.
        error: why the sweep as a whole failed, if it did.
    """

    event: str
    sweep: str
    status: str
    time: str
    id: str | None = None
    trials: Trials | None = None
    epochs_trained: int | None = None
    measures: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None
    baseline: str | None = None
    findings: tuple[Finding, ...] | None = None
    error: str | None = None


def of_run(settings: Settings, result: RunResult) -> Notice | None:
    """The notice of a run; None unless it finished or failed."""
    sweep = result.detail.sweep
    failed = result.outcome in FAILURES
    if not failed and result.outcome != SweepStatus.FINISHED:
        return None
    from services.verbs import gate  # SciPy, which only a notice needs

    counts = Trials(
        total=sweep.trials,
        ended=sweep.ended,
        diverged=sweep.diverged,
        failed=sweep.failed,
        cancelled=sweep.cancelled,
        stopped=sweep.stopped,
    )
    return Notice(
        event="failed" if failed else "finished",
        sweep=sweep.name,
        id=sweep.id,
        status=result.outcome,
        time=_now(),
        trials=counts,
        epochs_trained=result.trained,
        measures=None if failed else _named(gate.measured(settings, sweep.id)),
        error=result.error,
    )


def of_crash(request: Request, error: Exception) -> Notice:
    """The notice of a run that crashed."""
    why = masked(f"{type(error).__name__}: {error}")
    return Notice(event="failed", sweep=request.spec, status=SweepStatus.FAILED, time=_now(), error=why)


def of_check(result: Checked) -> Notice | None:
    """The notice of a check; None unless something regressed."""
    if result.verdict is not Verdict.REGRESSED:
        return None
    return Notice(
        event="regressed",
        sweep=result.sweep,
        id=result.id,
        status=result.verdict,
        time=_now(),
        baseline=result.baseline,
        findings=result.findings,
    )


def tell(settings: Settings, make: Callable[[], Notice | None], complain: Callable[[str], None]) -> None:
    """Deliver a notice to the configured receivers; failures go to ``complain``, and nothing is raised."""
    if settings.notify_url is None and settings.notify_command is None:
        return
    try:
        notice = make()
    except Exception as error:  # the run keeps its result in any case
        complain(f"No notice was sent: {type(error).__name__}: {error}")
        return
    if notice is None:
        return
    if settings.notify_url and (why := _posted(settings.notify_url, notice)):
        complain(f"The notice {notice.event!r} did not reach {origin(settings.notify_url)}: {why}")
    if settings.notify_command and (why := _run(settings.notify_command, notice)):
        complain(f"The notice {notice.event!r}: ABEL_NOTIFY_COMMAND {why}")


def told(
    settings: Settings, request: Request, run: Callable[[], RunResult], complain: Callable[[str], None]
) -> RunResult:
    """Carry out a run, and tell how it ended, or that it crashed; a request that is refused has started nothing."""
    try:
        result = run()
    except INPUT_ERRORS:
        raise
    except Exception as error:
        tell(settings, partial(of_crash, request, error), complain)
        raise
    tell(settings, partial(of_run, settings, result), complain)
    return result


def _posted(url: str, notice: Notice) -> str | None:
    """Send a notice within a time limit; return why that failed."""
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(_post(url, notice)), name="notice", daemon=True)
    thread.start()
    thread.join(LONGEST_POST_SECONDS)
    return found[0] if found else f"it must answer within {POST_SECONDS:g} s"


def _post(url: str, notice: Notice) -> str | None:
    """Send a notice; return why that failed. The library's own messages would reveal the URL."""
    import requests  # every command that may send a notice imports this module, and few send one
    from requests.adapters import HTTPAdapter, Retry

    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=Retry(**RETRY)))
            answer = session.post(
                url,
                data=_body(notice),
                headers={"Content-Type": "application/json", "User-Agent": "abel-sweeps"},
                timeout=POST_SECONDS,
                allow_redirects=False,
                stream=True,  # the response body is not read
            )
            return None if 200 <= answer.status_code < 300 else f"it must answer 2xx, got {answer.status_code}"
    except Exception as error:
        # After retries, the library wraps the last error in another.
        if isinstance(error, requests.Timeout) or "ReadTimeoutError" in repr(error):
            return f"it must answer within {POST_SECONDS:g} s"
        return f"it cannot be reached ({type(error).__name__})"


def _run(command: str, notice: Notice) -> str | None:
    """Run a command on a notice, with its output on standard error; return why that failed."""
    variables = {
        "ABEL_EVENT": notice.event,
        "ABEL_SWEEP": notice.sweep,
        "ABEL_SWEEP_ID": notice.id or "",
        "ABEL_STATUS": notice.status,
    }
    try:
        # A separate process group, so a timeout kills all of it.
        process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.PIPE,
            stdout=2,
            stderr=2,
            env=os.environ | SILENT | variables,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"cannot be started: {error}"
    try:
        process.communicate(_body(notice), timeout=COMMAND_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"was killed; it must finish within {COMMAND_SECONDS:g} s"
    return None if process.returncode == 0 else f"must exit with 0, got {process.returncode}"


def _body(notice: Notice) -> bytes:
    return to_json(notice).encode("utf-8", "replace")


def _named(measures: Mapping[str, Mapping[str, Interval]]) -> Mapping[str, Mapping[str, Mapping[str, float]]] | None:
    found = {arm: {name: one._asdict() for name, one in by_name.items()} for arm, by_name in measures.items()}
    return found or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

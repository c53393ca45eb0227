"""Jobs on a Ray cluster, by its Jobs API: the head runs the process of each launch, and the service needs no Ray of its own."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import requests

from services.errors import OperationError
from services.server.jobs import LOG_BYTES, JobsAway, JobState, job_command
from sweeps.urls import base_address, origin

TIMEOUT_SECONDS = (5.0, 30.0)  # to connect; to answer
CHUNK_BYTES = 64 * 1024
KEPT_BYTES = 6 * LOG_BYTES  # of a log as JSON, where a character may be an escape of six
URL_RULE = "must be the address of a Ray dashboard, as http://ray-head:8265"
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")


class RayJobs:
    """Jobs of a Ray head. They outlive the service, which finds them by their ids; the head forgets them if it is lost.

    Args:
        url: the head's dashboard, such as ``http://ray-head:8265``.
        token_file: a file with the cluster's token, read for every request; None if the cluster has none.

    Raises:
        OperationError: the URL is not one of HTTP, or holds more than a host, a port and a path.
    """

    def __init__(self, url: str, token_file: Path | None) -> None:
        try:
            self._url = base_address(url)
        except ValueError:
            raise OperationError(f"--ray-jobs: {URL_RULE}, got {origin(url)}") from None
        self._token_file = token_file
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace the token, a proxy would see it

    def launch(self, id: str, number: int) -> None:
        """Start the process for this launch of a submission, once."""
        if self._find(id, number) is not None:
            return  # Ray answers 500 to an id that it knows
        body = {
            "submission_id": _name(id, number),
            "entrypoint": shlex.join(["python", "-P", *job_command(id, number)]),
            "runtime_env": {"env_vars": {"ABEL_RAY_ADDRESS": "auto"}},
        }
        answer = self._ask("POST", "", body)
        if answer.status_code != requests.codes.ok and self._find(id, number) is None:
            raise self._refusal(answer)

    def observe(self, id: str, number: int) -> JobState:
        """Say what is known of it."""
        found = self._find(id, number)
        if found is None:
            return JobState.FORGOTTEN
        return JobState.ENDED if found.get("status") in ENDED else JobState.ALIVE

    def stop(self, id: str, number: int) -> None:
        """Ask it to drain and end; nothing happens if there is no such job."""
        self._read("POST", f"{_name(id, number)}/stop")

    def output(self, id: str, number: int) -> str:
        """Return the end of what it printed."""
        with self._ask("GET", f"{_name(id, number)}/logs", stream=True) as answer:
            if answer.status_code == requests.codes.not_found:
                return ""
            if answer.status_code != requests.codes.ok:
                raise self._refusal(answer)
            try:
                return _end_of_log(answer.iter_content(CHUNK_BYTES))
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                where, why = origin(self._url), type(error).__name__
                raise JobsAway(f"the log of the Ray head at {where} cannot be read ({why})") from None

    def _find(self, id: str, number: int) -> dict[str, Any] | None:
        return self._read("GET", _name(id, number))

    def _read(self, method: str, path: str) -> dict[str, Any] | None:
        """What the head answers; None if it knows no such job."""
        answer = self._ask(method, path)
        if answer.status_code == requests.codes.not_found:
            return None
        if answer.status_code != requests.codes.ok:
            raise self._refusal(answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise JobsAway(f"the Ray head at {origin(self._url)} does not answer as Ray's Jobs API does")
        return found

    def _ask(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self._url}/api/jobs/{path}",
                json=body,
                headers=self._headers(),
                timeout=TIMEOUT_SECONDS,
                stream=stream,
                allow_redirects=False,  # the token is for this host
            )
        except requests.RequestException as error:
            raise JobsAway(f"the Ray head at {origin(self._url)} does not answer ({type(error).__name__})") from None

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text().strip()
        except (OSError, UnicodeError) as error:
            raise JobsAway(f"the Ray token in {self._token_file} cannot be read ({type(error).__name__})") from None
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _refusal(self, answer: requests.Response) -> JobsAway:
        where, code = origin(self._url), answer.status_code
        if code in (requests.codes.unauthorized, requests.codes.forbidden):
            return JobsAway(f"the Ray head at {where} refuses the token in {self._token_file or 'no file'} ({code})")
        # A refusal of the head ends with the reason, after a traceback.
        reason = (answer.text.strip().splitlines() or ["without a reason"])[-1][:300]
        return JobsAway(f"the Ray head at {where} answers {code}: {reason}")


def _end_of_log(parts: Iterable[bytes]) -> str:
    """The end of the text in ``{"logs": "…"}``: the head sends all of a log, which may be larger than the memory.

    Raises:
        ValueError: it is no such document.
    """
    size, kept = 0, b""
    for part in parts:
        size, kept = size + len(part), (kept + part)[-KEPT_BYTES:]
    if size == len(kept):
        return str(json.loads(kept)["logs"] or "")[-LOG_BYTES:]
    # After the escape of a line break nothing is cut in two. Whatever else the document had is before it.
    _, found, end = kept.partition(b"\\n")
    if not found or not end.rstrip().endswith(b'"}'):
        raise ValueError("no log of lines")
    return str(json.loads(b'"' + end.rstrip()[:-1]))[-LOG_BYTES:]


def _name(id: str, number: int) -> str:
    return f"{id}-{number}"

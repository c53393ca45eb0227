"""A small door to the Kubernetes API: requests with the token of a service account, for the few that RayJobs need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from services.errors import OperationError
from services.server.jobs import JobsAway
from sweeps.urls import base_address, origin

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes mounts a pod's own account
INSIDE = "https://kubernetes.default.svc"  # the API server by the name that every pod knows
LOOPBACK = ("127.0.0.1", "localhost", "::1")
URL_RULE = "must be https:// and the API server, or http:// and a `kubectl proxy` on loopback"
TIMEOUT_SECONDS = (5.0, 30.0)  # to connect; to answer


class KubeApi:
    """One API server, as one account sees it.

    Args:
        url: its address: https, or the plain http of a `kubectl proxy` on this machine, which gets no token.
        account: a folder with ``token``, read for every request as Kubernetes replaces it, and ``ca.crt``.

    Raises:
        OperationError: the URL is neither, or holds more than a host, a port and a path.
    """

    def __init__(self, url: str = INSIDE, account: Path = ACCOUNT) -> None:
        try:
            self._url = base_address(url, plain=LOOPBACK)
        except ValueError:
            raise OperationError(f"--kube-api: {URL_RULE}, got {origin(url)}") from None
        self._account = account
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace the token, a proxy would see it

    def ask(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str | int] | None = None
    ) -> requests.Response:
        """Return the answer to a request, whatever its status, but for refusals of the account.

        Raises:
            JobsAway: the server does not answer, or refuses the account, or the account cannot be read.
        """
        secure = self._url.startswith("https:")
        try:
            answer = self._session.request(
                *(method, f"{self._url}{path}"),
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {self._token()}"} if secure else {},
                verify=str(self._account / "ca.crt") if secure else True,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # the token is for this host
            )
        except (requests.RequestException, OSError) as error:  # requests raises OSError if there is no such certificate
            rule = f"the Kubernetes API at {origin(self._url)} does not answer ({type(error).__name__})"
            raise JobsAway(rule) from None
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise self.refusal(answer)
        return answer

    def refusal(self, answer: requests.Response) -> JobsAway:
        """What an answer means that is no success, with the reason that the server gives."""
        try:
            reason = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            reason = "without a reason"
        return JobsAway(f"the Kubernetes API at {origin(self._url)} answers {answer.status_code}: {reason[:300]}")

    def _token(self) -> str:
        file = self._account / "token"
        try:
            return file.read_text().strip()
        except (OSError, UnicodeError) as error:
            raise JobsAway(f"the Kubernetes token in {file} cannot be read ({type(error).__name__})") from None

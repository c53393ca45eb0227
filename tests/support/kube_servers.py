"""A Kubernetes API server for RayJobs and the pods that submit them: TLS, a token, names that are taken, versions, its refusals.

It checks a new RayJob by KubeRay's schema and by the rules of KubeRay's operator that no schema has. Its jobs are only noted.
"""

import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from http_stubs import in_thread
from jsonschema import Draft202012Validator
from manifests import schema

NAMESPACE = "lab"
TOKEN = "the-token-of-the-account"
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    422: "Invalid",
}
STOP_JOB = "ray.io/rayjob-finalizer"

Answer = tuple[int, Any]


@dataclass
class KubeServer:
    """What the server holds of one namespace, and what it was asked."""

    url: str = ""
    account: Path = Path()  # a folder with the token and the certificate
    rayjobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str | None] = field(default_factory=dict)  # of the pod that submits a RayJob; None before it starts
    asked: list[tuple[str, str]] = field(default_factory=list)
    broken: tuple[int, str] | None = None
    version: int = 100
    expects: str | None = f"Bearer {TOKEN}"

    def operate(self, name: str, deployment: str, job: str = "", **more: str) -> None:
        """Change the state of a RayJob, as KubeRay does."""
        one = self.rayjobs[name]
        one["metadata"]["finalizers"] = [STOP_JOB]
        one["status"] = {"jobDeploymentStatus": deployment, "jobStatus": job, **more}
        self._touch(one)

    def finalize(self) -> None:
        """Remove what is being deleted, as KubeRay does once it has told the jobs to stop."""
        for name in [name for name, one in self.rayjobs.items() if "deletionTimestamp" in one["metadata"]]:
            del self.rayjobs[name]

    def answer(self, method: str, url: str, token: str | None, body: Any) -> Answer:
        """Answer a request."""
        parts, query = urlsplit(url), {key: values[-1] for key, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append((method, parts.path))
        if token != self.expects:
            return _status(401, "Unauthorized")
        if self.broken is not None:
            return _status(*self.broken)
        match method, parts.path.split("/")[1:]:
            case _, ["apis", "ray.io", "v1", "namespaces", other, *_] | ["api", "v1", "namespaces", other, *_] if (
                other != NAMESPACE
            ):
                return _status(403, f'rayjobs.ray.io is forbidden: no access in the namespace "{other}"')
            case "POST", ["apis", "ray.io", "v1", "namespaces", _, "rayjobs"]:
                return self._create(body)
            case "GET", ["apis", "ray.io", "v1", "namespaces", _, "rayjobs", name] if name in self.rayjobs:
                return 200, self.rayjobs[name]
            case "DELETE", ["apis", "ray.io", "v1", "namespaces", _, "rayjobs", name] if name in self.rayjobs:
                return self._delete(name)
            case "GET", ["api", "v1", "namespaces", _, "pods"]:
                return 200, {"kind": "PodList", "items": self._pods(query["labelSelector"])}
            case "GET", ["api", "v1", "namespaces", _, "pods", name, "log"]:
                return self._log(name.removesuffix("-pod"), int(query["tailLines"]))
        return _status(404, f'"{parts.path.rsplit("/", 1)[-1]}" not found')

    def _create(self, body: Any) -> Answer:
        name = body["metadata"]["name"]
        if name in self.rayjobs:
            return _status(409, f'rayjobs.ray.io "{name}" already exists')
        faults = [error.message for error in Draft202012Validator(schema("RayJob")).iter_errors(body)]
        if faults := faults or list(_faults(body)):
            return _status(422, f'RayJob.ray.io "{name}" is invalid: {faults[0]}')
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        made = body["metadata"] | {"namespace": NAMESPACE, "uid": f"uid-{self.version}", "creationTimestamp": now}
        self.rayjobs[name] = body | {"metadata": made}
        self._touch(self.rayjobs[name])
        return 201, self.rayjobs[name]

    def _delete(self, name: str) -> Answer:
        one = self.rayjobs[name]
        if one["metadata"].get("finalizers"):
            one["metadata"].setdefault("deletionTimestamp", "2026-11-30T00:00:00Z")
            self._touch(one)
            return 200, one
        del self.rayjobs[name]
        return 200, {"kind": "Status", "status": "Success"}

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        label, _, name = selector.partition("=")
        assert label == "batch.kubernetes.io/job-name"
        if name not in self.logs:
            return []
        metadata = {"name": f"{name}-pod", "creationTimestamp": "2026-11-30T00:00:00Z"}
        return [{"metadata": metadata, "spec": {"containers": [{"name": "ray-job-submitter"}]}}]

    def _log(self, name: str, lines: int) -> Answer:
        if (text := self.logs.get(name)) is None:
            return _status(400, 'container "ray-job-submitter" is waiting to start: ContainerCreating')
        return 200, "".join(text.splitlines(keepends=True)[-lines:])

    def _touch(self, one: dict[str, Any]) -> None:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)


def _faults(body: Any) -> Iterator[str]:
    """What KubeRay 1.7 refuses although its schema allows it."""
    spec, name = body["spec"], body["metadata"]["name"]
    if len(name) > 47 or not name[0].isalpha():
        yield "name must be a DNS 1035 label of at most 47 characters"
    if ("clusterSelector" in spec) == ("rayClusterSpec" in spec):
        yield "one of RayClusterSpec or ClusterSelector must be set"
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield "shutdownAfterJobFinishes and deletionRules are mutually exclusive"
    if "clusterSelector" in spec and any(rule["policy"] in ("DeleteCluster", "DeleteWorkers") for rule in rules):
        yield "DeleteCluster is not supported when ClusterSelector is set"


def _status(code: int, message: str) -> Answer:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return code, status | {"reason": REASONS.get(code, "InternalError")}


@contextmanager
def kube_server(account: Path, *, proxied: bool = False) -> Iterator[KubeServer]:
    """A server that answers until the block ends; the folder gets its token and certificate.

    Args:
        proxied: behind a `kubectl proxy`, which speaks plain HTTP and adds the token itself.
    """
    made = KubeServer(account=account, expects=None if proxied else f"Bearer {TOKEN}")
    account.mkdir()
    (account / "token").write_text(TOKEN)
    certificate, key = account / "ca.crt", account / "key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            status, answer = made.answer(self.command, self.path, self.headers.get("Authorization"), body)
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if not proxied:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate, key)
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    with in_thread(server) as port:
        made.url = f"http{'' if proxied else 's'}://127.0.0.1:{port}"
        yield made

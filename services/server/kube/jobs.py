"""Jobs as RayJobs on Kubernetes: KubeRay submits each launch to a Ray cluster that is there, or makes one for it."""

import re
from collections.abc import Mapping
from typing import Any

import requests

from services.errors import OperationError
from services.server.jobs import LOG_BYTES, JobsAway, JobState
from services.server.kube.api import KubeApi
from services.server.kube.manifests import API_VERSION, rayjob, rayjob_name

NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
ENDED = ("Complete", "Failed", "ValidationFailed")
RUNNING = "Running"  # submitted to its cluster; before, it waits for one, or for Kueue
ENDED_IN_RAY = ("STOPPED", "SUCCEEDED", "FAILED")
LOG_LINES = 5000


class KubeRayJobs:
    """Jobs as RayJobs of a namespace. They outlive the service, which finds them by their names.

    Args:
        manifest: the operator's part of each RayJob, from :func:`services.server.kube.manifests.read_manifest`.

    Raises:
        OperationError: the namespace is not one.
    """

    def __init__(self, api: KubeApi, namespace: str, manifest: Mapping[str, Any]) -> None:
        if not NAMESPACE.fullmatch(namespace):
            raise OperationError(f"--kube-rayjobs: must be a Kubernetes namespace, got {namespace[:70]!r}")
        self._api, self._manifest = api, manifest
        self._jobs = f"/apis/{API_VERSION}/namespaces/{namespace}/rayjobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def launch(self, id: str, number: int) -> None:
        """Create the RayJob of this launch, once: its name is that of the launch."""
        answer = self._api.ask("POST", self._jobs, rayjob(self._manifest, id, number))
        if answer.status_code not in (requests.codes.created, requests.codes.conflict):
            raise self._api.refusal(answer)

    def observe(self, id: str, number: int) -> JobState:
        """Say what is known of it."""
        found = self._find(id, number)
        if found is None:
            return JobState.UNKNOWN
        status = found.get("status") or {}
        deployment, job = status.get("jobDeploymentStatus"), status.get("jobStatus")
        if deployment in ENDED or job in ENDED_IN_RAY or "deletionTimestamp" in found["metadata"]:
            return JobState.ENDED
        return JobState.ALIVE if deployment == RUNNING else JobState.WAITING

    def stop(self, id: str, number: int) -> None:
        """Delete the RayJob: KubeRay tells the job to drain. Nothing happens if there is no such RayJob."""
        self._read("DELETE", f"{self._jobs}/{rayjob_name(id, number)}")

    def output(self, id: str, number: int) -> str:
        """Return the end of what it printed, which the pod that submitted it repeats; before there is one, its state."""
        found = self._find(id, number)
        if found is None:
            return ""
        # Kubernetes labels the pods of the job that submits by its name, which is the RayJob's.
        selector = {"labelSelector": f"batch.kubernetes.io/job-name={rayjob_name(id, number)}"}
        pods = (self._read("GET", self._pods, selector) or {}).get("items") or []
        for pod in sorted(pods, key=lambda one: str(one["metadata"]["creationTimestamp"]), reverse=True):
            text = self._log(pod)
            if text:
                return text[-LOG_BYTES:]
        status = found.get("status") or {}
        named = (status.get(name) for name in ("jobDeploymentStatus", "jobStatus", "reason", "message"))
        return f"RayJob {rayjob_name(id, number)}: {', '.join(map(str, filter(None, named))) or 'is new'}\n"

    def _log(self, pod: Mapping[str, Any]) -> str:
        """The end of the log of a pod's first container, which KubeRay gives the command; nothing before it starts."""
        query = {"container": pod["spec"]["containers"][0]["name"], "tailLines": LOG_LINES}
        answer = self._api.ask("GET", f"{self._pods}/{pod['metadata']['name']}/log", query=query)
        if answer.status_code in (requests.codes.not_found, requests.codes.bad_request):
            return ""
        if answer.status_code != requests.codes.ok:
            raise self._api.refusal(answer)
        return str(answer.content, errors="replace")

    def _find(self, id: str, number: int) -> dict[str, Any] | None:
        return self._read("GET", f"{self._jobs}/{rayjob_name(id, number)}")

    def _read(self, method: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """What the server answers; None if there is no such object."""
        answer = self._api.ask(method, path, query=query)
        if answer.status_code == requests.codes.not_found:
            return None
        if answer.status_code not in (requests.codes.ok, requests.codes.accepted):
            raise self._api.refusal(answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise JobsAway("the Kubernetes API does not answer with an object")
        return found

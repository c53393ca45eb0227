"""The RayJob (`ray.io/v1`, KubeRay 1.7) of a launch: what the operator's manifest says of pods, and what the service decides.

Nothing in it comes from a user: the command is fixed, its arguments are made by the service, and the spec travels by the ledger.
"""

import re
import shlex
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from services.errors import OperationError
from services.server.jobs import job_command
from sweeps.errors import Faults, SpecError
from sweeps.spec import yaml

API_VERSION = "ray.io/v1"
# What the operator decides: the cluster, the pod that submits, what the driver reserves. The rest is the service's.
OPERATORS = (
    *("clusterSelector", "rayClusterSpec", "submitterPodTemplate", "submitterConfig", "managedBy"),
    *("entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "preRunningDeadlineSeconds"),
)
CLUSTERS = ("clusterSelector", "rayClusterSpec")
KEEP_SECONDS = 86_400  # of a RayJob that has ended, and of its log with it
ID = re.compile(r"[a-z0-9]{1,32}")  # KubeRay allows names of up to 47 characters


def read_manifest(file: Path) -> Mapping[str, Any]:
    """Read the operator's RayJob.

    Raises:
        OperationError: it cannot be read, is no RayJob, or says what the service decides.
    """
    faults = Faults()
    try:
        found = yaml.load_yaml(file.read_text(encoding="utf-8"), str(file), faults)
        faults.raise_if_any(str(file))
    except (OSError, UnicodeError) as error:
        raise OperationError(f"--rayjob: {file} cannot be read ({type(error).__name__})") from None
    except SpecError as error:
        raise OperationError(f"--rayjob: {error}") from None
    if fault := _fault(found):
        raise OperationError(f"--rayjob: {file}: {fault}")
    manifest: Mapping[str, Any] = found
    return manifest


def rayjob_name(id: str, number: int) -> str:
    """The name of the RayJob of a launch; the same launch has the same name.

    Raises:
        ValueError: the id may not be part of one.
    """
    if not ID.fullmatch(id):
        raise ValueError(f"id: must be 1 to 32 lower-case letters and digits, got {id[:40]!r}")
    return f"abel-{id}-{number}"


def rayjob(manifest: Mapping[str, Any], id: str, number: int) -> dict[str, Any]:
    """The RayJob of a launch.

    Raises:
        ValueError: the id may not be part of a name.
    """
    given, name = manifest.get("metadata") or {}, rayjob_name(id, number)
    own = {
        "app.kubernetes.io/managed-by": "abel-service",
        "abel-sweeps/submission": id,
        "abel-sweeps/launch": str(number),
    }
    spec = deepcopy(dict(manifest["spec"]))
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {**given, "name": name, "labels": {**(given.get("labels") or {}), **own}},
        "spec": {
            **spec,
            "entrypoint": shlex.join(["python", "-P", *job_command(id, number)]),
            "jobId": f"{id}-{number}",
            "runtimeEnvYAML": "env_vars:\n  ABEL_RAY_ADDRESS: auto\n",
            "submissionMode": "K8sJobMode",  # in HTTPMode KubeRay submits again what a new head does not know
            "backoffLimit": 0,  # the service starts another launch, which is counted
            "deletionStrategy": {"deletionRules": list(_deletions("rayClusterSpec" in spec))},
        },
    }


def _deletions(owns_cluster: bool) -> list[dict[str, Any]]:
    """When KubeRay deletes what: a cluster of the job's own at its end, the RayJob with the log later.

    `shutdownAfterJobFinishes` does not go with such rules, and without them RayJobs stay for ever.
    """
    ends = ({"jobStatus": "SUCCEEDED"}, {"jobStatus": "FAILED"}, {"jobDeploymentStatus": "Failed"})
    policies = {**({"DeleteCluster": 0} if owns_cluster else {}), "DeleteSelf": KEEP_SECONDS}
    return [
        {"policy": policy, "condition": {**end, "ttlSeconds": seconds}}
        for policy, seconds in policies.items()
        for end in ends
    ]


def _fault(found: Any) -> str | None:
    """What is wrong with an operator's manifest."""
    if not isinstance(found, Mapping) or (found.get("apiVersion"), found.get("kind")) != (API_VERSION, "RayJob"):
        return f"must be a RayJob of {API_VERSION}"
    spec, metadata = found.get("spec"), found.get("metadata") or {}
    if not isinstance(spec, Mapping) or not isinstance(metadata, Mapping):
        return "must have a spec, and metadata that is an object"
    if extra := sorted(set(metadata) - {"labels", "annotations"}):
        return f"metadata: must have labels and annotations only, got {', '.join(extra)}"
    for name, given in metadata.items():
        if not isinstance(given, Mapping):
            return f"metadata.{name}: must be an object, got {given!r:.40}"
    if extra := sorted(set(spec) - set(OPERATORS)):
        return f"spec: must have some of {', '.join(OPERATORS)}, got {', '.join(extra)}"
    if len([name for name in CLUSTERS if name in spec]) != 1:
        return f"spec: must have one of {' and '.join(CLUSTERS)}"
    return None

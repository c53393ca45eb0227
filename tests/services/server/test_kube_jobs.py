"""Jobs as RayJobs, against a server that answers as the Kubernetes API does for them; no Kubernetes runs here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_servers import NAMESPACE, TOKEN, KubeServer, kube_server
from typer.testing import CliRunner

from services.cli.app import app
from services.errors import OperationError
from services.server.jobs import LOG_BYTES, JobsAway, JobState
from services.server.kube.api import KubeApi
from services.server.kube.jobs import KubeRayJobs
from services.server.kube.manifests import rayjob, read_manifest

ID = "0123456789abcdef"
NAME = f"abel-{ID}-1"
SELECTS = {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": {"clusterSelector": {"ray.io/cluster": "abel"}}}
POD = {"spec": {"containers": [{"name": "ray-head", "image": "abel-sweeps-cpu"}]}}
OWNS = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "abel"}},
    "spec": {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {}, "template": POD}}},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubeServer]:
    with kube_server(tmp_path / "account") as made:
        yield made


@pytest.fixture
def place(server: KubeServer) -> KubeRayJobs:
    return KubeRayJobs(KubeApi(server.url, server.account), NAMESPACE, SELECTS)


def test_a_launch_is_a_rayjob_with_a_fixed_command(server: KubeServer, place: KubeRayJobs) -> None:
    place.launch(ID, 1)
    one = server.rayjobs[NAME]
    assert one["spec"]["entrypoint"] == f"python -P -m services.server.job {ID} 1"
    assert one["spec"]["clusterSelector"] == {"ray.io/cluster": "abel"}
    assert (one["spec"]["jobId"], one["spec"]["backoffLimit"]) == (f"{ID}-1", 0)
    assert one["spec"]["runtimeEnvYAML"] == "env_vars:\n  ABEL_RAY_ADDRESS: auto\n"
    assert one["metadata"]["labels"]["abel-sweeps/submission"] == ID
    policies = {rule["policy"] for rule in one["spec"]["deletionStrategy"]["deletionRules"]}
    assert policies == {"DeleteSelf"}  # the cluster is everybody's


def test_a_cluster_of_its_own_ends_with_the_job(server: KubeServer) -> None:
    KubeRayJobs(KubeApi(server.url, server.account), NAMESPACE, OWNS).launch(ID, 1)
    one = server.rayjobs[NAME]
    assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "abel"
    rules = one["spec"]["deletionStrategy"]["deletionRules"]
    at_once = [rule["condition"] for rule in rules if rule["policy"] == "DeleteCluster"]
    assert [condition["ttlSeconds"] for condition in at_once] == [0, 0, 0]


def test_a_second_launch_of_a_number_starts_nothing(server: KubeServer, place: KubeRayJobs) -> None:
    place.launch(ID, 1)
    before = dict(server.rayjobs[NAME]["metadata"])
    place.launch(ID, 1)
    assert server.rayjobs[NAME]["metadata"] == before  # its resourceVersion, too
    place.launch(ID, 2)
    assert list(server.rayjobs) == [NAME, f"abel-{ID}-2"]


@pytest.mark.parametrize("id", ["$(id);", "A", "a/b", "", "a" * 33])
def test_only_an_id_of_the_service_gets_into_a_rayjob(id: str) -> None:
    with pytest.raises(ValueError, match="id: must be 1 to 32 lower-case letters and digits"):
        rayjob(SELECTS, id, 1)


@pytest.mark.parametrize(
    ("deployment", "job", "state"),
    [
        ("", "", JobState.WAITING),
        ("Initializing", "", JobState.WAITING),
        ("Suspended", "", JobState.WAITING),
        ("Running", "", JobState.ALIVE),
        ("Running", "PENDING", JobState.ALIVE),
        ("Running", "RUNNING", JobState.ALIVE),
        ("Running", "FAILED", JobState.ENDED),
        ("Running", "STOPPED", JobState.ENDED),
        ("Complete", "SUCCEEDED", JobState.ENDED),
        ("Failed", "", JobState.ENDED),
        ("ValidationFailed", "", JobState.ENDED),
    ],
)
def test_the_state_of_a_rayjob(
    server: KubeServer, place: KubeRayJobs, deployment: str, job: str, state: JobState
) -> None:
    assert place.observe(ID, 1) is JobState.UNKNOWN
    place.launch(ID, 1)
    assert place.observe(ID, 1) is JobState.WAITING
    server.operate(NAME, deployment, job)
    assert place.observe(ID, 1) is state


def test_a_stopped_one_is_deleted_and_has_ended(server: KubeServer, place: KubeRayJobs) -> None:
    place.stop(ID, 1)  # there is none
    place.launch(ID, 1)
    server.operate(NAME, "Running", "RUNNING")
    place.stop(ID, 1)
    assert place.observe(ID, 1) is JobState.ENDED  # KubeRay still tells the job to stop
    server.finalize()
    assert (place.observe(ID, 1), place.output(ID, 1)) == (JobState.UNKNOWN, "")


def test_its_output_is_that_of_the_pod_that_submitted_it(server: KubeServer, place: KubeRayJobs) -> None:
    place.launch(ID, 1)
    assert place.output(ID, 1) == f"RayJob {NAME}: is new\n"
    server.logs[NAME] = None
    server.operate(NAME, "Failed", reason="SubmissionFailed", message="no such image")
    assert place.output(ID, 1) == f"RayJob {NAME}: Failed, SubmissionFailed, no such image\n"
    server.logs[NAME] = "first\n" + "x" * LOG_BYTES + "\nlast é"
    shown = place.output(ID, 1)
    assert shown.endswith("x\nlast é") and len(shown) == LOG_BYTES


def test_a_new_token_is_read_without_a_restart(server: KubeServer, place: KubeRayJobs) -> None:
    (server.account / "token").write_text("old")
    with pytest.raises(JobsAway, match="answers 401: Unauthorized"):
        place.observe(ID, 1)
    (server.account / "token").write_text(TOKEN + "\n")
    assert place.observe(ID, 1) is JobState.UNKNOWN


def test_a_token_that_is_missing_is_named(server: KubeServer, place: KubeRayJobs) -> None:
    (server.account / "token").unlink()
    with pytest.raises(JobsAway, match=r"the Kubernetes token in .*token cannot be read \(FileNotFoundError\)"):
        place.launch(ID, 1)


def test_another_certificate_gets_no_token(server: KubeServer, tmp_path: Path) -> None:
    with kube_server(tmp_path / "other") as other:
        place = KubeRayJobs(KubeApi(other.url, server.account), NAMESPACE, SELECTS)
        with pytest.raises(JobsAway, match=r"does not answer \(SSLError\)"):
            place.observe(ID, 1)
        assert other.asked == []


def test_a_proxy_on_this_machine_gets_no_token(server: KubeServer, tmp_path: Path) -> None:
    with kube_server(tmp_path / "other", proxied=True) as other:
        place = KubeRayJobs(KubeApi(other.url, server.account), NAMESPACE, SELECTS)
        place.launch(ID, 1)
        assert place.observe(ID, 1) is JobState.WAITING


def test_another_namespace_is_forbidden_and_says_so(server: KubeServer) -> None:
    place = KubeRayJobs(KubeApi(server.url, server.account), "other", SELECTS)
    with pytest.raises(JobsAway, match="answers 403: rayjobs.ray.io is forbidden: no access in the namespace"):
        place.launch(ID, 1)


@pytest.mark.parametrize(("status", "shown"), [(500, "answers 500: etcd is away"), (302, "answers 302")])
def test_a_server_that_fails_is_away(server: KubeServer, place: KubeRayJobs, status: int, shown: str) -> None:
    place.launch(ID, 1)
    server.broken = (status, "etcd is away")
    for act in (place.launch, place.observe, place.stop, place.output):
        with pytest.raises(JobsAway, match=shown):
            act(ID, 2)


def test_a_rayjob_that_the_server_refuses_is_told(server: KubeServer) -> None:
    manifest: dict[str, Any] = {**SELECTS, "spec": {**SELECTS["spec"], "entrypointNumCpus": "one"}}
    with pytest.raises(JobsAway, match="answers 422: .* is invalid: 'one' is not of type"):
        KubeRayJobs(KubeApi(server.url, server.account), NAMESPACE, manifest).launch(ID, 1)


def test_a_server_that_is_down_is_away(server: KubeServer, free_port: Callable[[], int]) -> None:
    place = KubeRayJobs(KubeApi(f"https://127.0.0.1:{free_port()}", server.account), NAMESPACE, SELECTS)
    with pytest.raises(JobsAway, match=r"https://127.0.0.1:\d+ does not answer \(ConnectionError\)"):
        place.launch(ID, 1)


@pytest.mark.parametrize("url", ["http://api.example", "https://", "ftp://x", "https://me:pass@api", "https://h?a=b"])
def test_a_url_that_would_give_the_token_away_is_refused(url: str) -> None:
    with pytest.raises(OperationError, match="--kube-api: must be https:// and the API server") as error:
        KubeApi(url)
    assert "pass" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Pod", "must be a RayJob of ray.io/v1"),
        ("apiVersion: ray.io/v1\nkind: RayJob", "must have a spec"),
        ("apiVersion: ray.io/v1\nkind: RayJob\nspec: {}", "must have one of clusterSelector and rayClusterSpec"),
        (
            "apiVersion: ray.io/v1\nkind: RayJob\nspec: {entrypoint: rm, clusterSelector: {}}",
            "spec: must have some of .*, got entrypoint",
        ),
        (
            "apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: x}\nspec: {clusterSelector: {}}",
            "metadata: must have labels and annotations only, got name",
        ),
        ("a: [", "--rayjob: "),
    ],
)
def test_a_manifest_is_refused_with_its_fault(tmp_path: Path, text: str, told: str) -> None:
    (file := tmp_path / "rayjob.yaml").write_text(text)
    with pytest.raises(OperationError, match=told):
        read_manifest(file)
    with pytest.raises(OperationError, match=r"cannot be read \(FileNotFoundError\)"):
        read_manifest(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--kube-rayjobs", "abel"], "go together"),
        (["--ray-jobs", "http://head:8265", "--kube-rayjobs", "abel"], "do not go together"),
        (["--kube-rayjobs", "Abel!", "--rayjob", "FILE"], "must be a Kubernetes namespace, got 'Abel!'"),
    ],
)
def test_the_command_refuses_what_names_no_place(
    tmp_path: Path, abel_home: Path, options: list[str], told: str
) -> None:
    (file := tmp_path / "rayjob.yaml").write_text(
        "apiVersion: ray.io/v1\nkind: RayJob\nspec: {clusterSelector: {ray.io/cluster: abel}}\n"
    )
    done = CliRunner().invoke(app, ["serve", "--port", "0", *(str(file) if one == "FILE" else one for one in options)])
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert not abel_home.exists()

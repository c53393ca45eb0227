"""The Kubernetes manifests: they fit their schemas, run nobody as root, hold no secret, and refer to what is there.

`raycluster.json` and `rayjob.json` are the schemas of `ray.io/v1` in KubeRay 1.7 (Apache-2.0), without descriptions and status;
what RayJob has of RayCluster is in the latter's.
"""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from manifests import Manifest, files, pods, rendered, schema, submitter
from pages import ROOT

from services.server.kube.api import ACCOUNT
from services.server.kube.manifests import rayjob, read_manifest

FOLDER = ROOT / "docker" / "kubernetes"
BUILDS = {"base": FOLDER / "base", "tpu": FOLDER / "overlays" / "tpu", "gpu": FOLDER / "overlays" / "gpu"}
BUILDS["rayjobs"] = FOLDER / "overlays" / "rayjobs"
COMPONENT = FOLDER / "components" / "rayjobs"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# Made by whoever deploys, by the commands of docs/how-to/deploy.md.
SECRETS = {"abel-ray-token", "abel-ledger", "abel-mlflow", "abel-store"}


@pytest.fixture(params=list(BUILDS))
def build(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(BUILDS[request.param])


def of_kind(build: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in build if one["kind"] == kind]


def walk(value: Any) -> Iterator[Any]:
    yield value
    match value:
        case Mapping():
            for below in value.values():
                yield from walk(below)
        case list():
            for below in value:
                yield from walk(below)


def matches(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def pod_labels(build: list[Manifest]) -> list[Mapping[str, str]]:
    """The labels of every pod, with those that KubeRay adds."""
    found = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(build, "Deployment")]
    found += [
        submitter(one)["metadata"]["labels"] for one in of_kind(build, "ConfigMap") if "rayjob.yaml" in one["data"]
    ]
    (cluster,) = of_kind(build, "RayCluster")
    groups = [("head", cluster["spec"]["headGroupSpec"])]
    groups += [("worker", group) for group in cluster["spec"]["workerGroupSpecs"]]
    for node, group in groups:
        made = {"ray.io/cluster": cluster["metadata"]["name"], "ray.io/node-type": node}
        found.append(group["template"]["metadata"]["labels"] | made)
    return found


def test_the_ray_cluster_fits_kuberays_schema(build: list[Manifest]) -> None:
    (cluster,) = of_kind(build, "RayCluster")
    validator = Draft202012Validator(schema("RayCluster"))
    assert [error.message for error in validator.iter_errors(cluster)] == []
    group = cluster["spec"]["workerGroupSpecs"][0]
    group["replicas"], group["numOfHost"] = "two", 1
    paths = {tuple(error.path) for error in validator.iter_errors(cluster)}
    assert paths == {("spec", "workerGroupSpecs", 0), ("spec", "workerGroupSpecs", 0, "replicas")}


def test_the_cluster_asks_for_a_token_and_the_installed_ray(build: list[Manifest]) -> None:
    (cluster,) = of_kind(build, "RayCluster")
    assert cluster["spec"]["authOptions"] == {"mode": "token", "secretName": "abel-ray-token"}
    assert f"\nray=={cluster['spec']['rayVersion']} " in (ROOT / "docker" / "locks" / "runtime.lock").read_text()
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_every_file_is_used() -> None:
    for folder in (*BUILDS.values(), COMPONENT):
        there = {path.name for path in folder.iterdir() if path.is_file()}
        assert there == files(folder) | {"kustomization.yaml"}


def test_nothing_has_the_name_of_another_thing(build: list[Manifest]) -> None:
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in build]
    assert len(names) == len(set(names))
    wide = {"Namespace", "ClusterQueue", "ResourceFlavor"}
    assert all(one["metadata"].get("namespace") == (None if one["kind"] in wide else "abel") for one in build)


def test_no_container_is_root_or_may_become_it(build: list[Manifest]) -> None:
    for name, pod in pods(build):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] >= 10_000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_no_pod_has_a_token_of_the_api_server(build: list[Manifest]) -> None:
    accounts = {one["metadata"]["name"] for one in of_kind(build, "ServiceAccount")}
    for name, pod in pods(build):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] in accounts, name


def test_images_are_of_this_version(build: list[Manifest]) -> None:
    images = {container["image"] for _, pod in pods(build) for container in pod["containers"]}
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert images <= {f"abel-sweeps-{target}:{VERSION}" for target in targets}


def test_secrets_are_named_and_not_contained(build: list[Manifest]) -> None:
    assert of_kind(build, "Secret") == []
    keys = {"secretRef": "name", "secret": "secretName", "secretKeyRef": "name", "authOptions": "secretName"}
    named = {
        below[key]
        for value in walk(build)
        if isinstance(value, Mapping)
        for word, key in keys.items()
        if isinstance(below := value.get(word), Mapping)
    }
    assert named == SECRETS
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
    assert all(f"create secret generic {name} " in page for name in named)
    assert not re.search(r"(password|secret|token) *[:=] *['\"]?[A-Za-z0-9+/]{12,}", yaml.safe_dump(build), re.I)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", yaml.safe_dump(build))


def test_mounts_claims_and_maps_are_there(build: list[Manifest]) -> None:
    claims = {one["metadata"]["name"] for one in of_kind(build, "PersistentVolumeClaim")}
    maps = {one["metadata"]["name"] for one in of_kind(build, "ConfigMap")}
    for name, pod in pods(build):
        volumes = {volume["name"] for volume in pod["volumes"]}
        claimed = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
        assert {claim["claimName"] for claim in claimed} <= claims, name
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name
            references = [
                source["configMapRef"]["name"] for source in container.get("envFrom", ()) if "configMapRef" in source
            ]
            assert set(references) <= maps, name


def test_selectors_select_pods(build: list[Manifest]) -> None:
    labels = pod_labels(build)
    for one in (*of_kind(build, "PodDisruptionBudget"), *of_kind(build, "Deployment")):
        assert any(matches(pod, one["spec"]["selector"]) for pod in labels), one["metadata"]["name"]
    for one in of_kind(build, "Service"):
        assert any(matches(pod, {"matchLabels": one["spec"]["selector"]}) for pod in labels), one["metadata"]["name"]
    for one in of_kind(build, "NetworkPolicy"):
        chosen = [
            value["podSelector"]
            for value in walk(one["spec"])
            if isinstance(value, Mapping) and "podSelector" in value and value.get("namespaceSelector") != {}
        ]
        assert all(any(matches(pod, selector) for pod in labels) for selector in chosen), one["metadata"]["name"]


def test_all_that_is_not_allowed_is_denied(build: list[Manifest], request: pytest.FixtureRequest) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(build, "NetworkPolicy")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        (name, port["port"])
        for name, spec in policies.items()
        for rule in spec.get("ingress", ())
        for port in rule.get("ports", ())
    }
    more = {("allow-ray-jobs", 8265)} if request.node.callspec.params["build"] == "rayjobs" else set()
    assert opened == {("allow-ray", 8265), ("allow-service", 8900), ("allow-mlflow", 5000)} | more
    # A rule without `from` would let anybody in.
    assert all(rule["from"] for spec in policies.values() for rule in spec.get("ingress", ()))


def test_the_queue_covers_what_pods_ask_for(build: list[Manifest]) -> None:
    (queue,) = of_kind(build, "ClusterQueue")
    groups = queue["spec"]["resourceGroups"]
    covered = {resource for group in groups for resource in group["coveredResources"]}
    flavors = {one["metadata"]["name"] for one in of_kind(build, "ResourceFlavor")}
    assert {flavor["name"] for group in groups for flavor in group["flavors"]} == flavors
    asked = {
        resource
        for name, pod in pods(build)
        for container in pod["containers"]
        for resource in container["resources"]["requests"]
    }
    assert asked == covered
    (local,) = of_kind(build, "LocalQueue")
    (cluster,) = of_kind(build, "RayCluster")
    assert cluster["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]


def test_the_tpu_overlay_has_both_generations() -> None:
    (cluster,) = of_kind(rendered(BUILDS["tpu"]), "RayCluster")
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["spec"]["workerGroupSpecs"]}
    kinds = {name: pod["nodeSelector"] for name, pod in groups.items() if "nodeSelector" in pod}
    kind, topology = "cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"
    assert kinds == {
        "tpu-v5e": {kind: "tpu-v5-lite-podslice", topology: "2x2"},
        "tpu-v6e": {kind: "tpu-v6e-slice", topology: "2x2"},
    }
    for name in kinds:
        (container,) = groups[name]["containers"]
        resources = container["resources"]
        assert resources["limits"]["google.com/tpu"] == resources["requests"]["google.com/tpu"] == "4"


def test_the_service_is_called_by_its_names(build: list[Manifest]) -> None:
    (service,) = (pod for name, pod in pods(build) if name == "abel-service")
    (container,) = service["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    (cluster,) = of_kind(build, "RayCluster")
    if "ABEL_SERVE_KUBE_RAYJOBS" not in given:
        assert given["ABEL_SERVE_RAY_JOBS"] == f"http://{cluster['metadata']['name']}-head-svc:8265"
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    hosts = [header["value"] for probe in probes for header in probe["httpHeaders"]]
    assert len(hosts) == 3 and set(hosts) <= set(given["ABEL_SERVE_NAMES"].split())


def test_rayjobs_of_the_overlay_fit_kuberays_schema(tmp_path: Path) -> None:
    build = rendered(BUILDS["rayjobs"])
    (config,) = (one for one in of_kind(build, "ConfigMap") if one["metadata"]["name"] == "abel-rayjob")
    (file := tmp_path / "rayjob.yaml").write_text(config["data"]["rayjob.yaml"])
    made = rayjob(read_manifest(file), "0123456789abcdef", 12)
    validator = Draft202012Validator(schema("RayJob"))
    assert [error.message for error in validator.iter_errors(made)] == []
    (cluster,) = of_kind(build, "RayCluster")
    assert made["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    made["spec"]["deletionStrategy"]["deletionRules"][0]["policy"] = "DeleteAll"
    made["spec"]["entryPoint"] = "x"
    assert {tuple(error.path)[:2] for error in validator.iter_errors(made)} == {("spec",), ("spec", "deletionStrategy")}


def test_the_service_may_do_with_rayjobs_what_it_does_and_nothing_else() -> None:
    build = rendered(BUILDS["rayjobs"])
    (role,), (binding,) = of_kind(build, "Role"), of_kind(build, "RoleBinding")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    jobs = {("rayjobs", verb) for verb in ("create", "get", "delete")}
    assert allowed == jobs | {("pods", "list"), ("pods/log", "get")}
    assert [rule["apiGroups"] for rule in role["rules"]] == [["ray.io"], [""], [""]]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "abel-service", "namespace": "abel"}]
    (service,) = (pod for name, pod in pods(build) if name == "abel-service")
    (container,) = service["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert "ABEL_SERVE_RAY_JOBS" not in given and given["ABEL_SERVE_KUBE_RAYJOBS"] == role["metadata"]["namespace"]
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (places["kube-account"], f"{places['rayjob']}/rayjob.yaml") == (str(ACCOUNT), given["ABEL_SERVE_RAYJOB"])
    (account,) = (volume["projected"] for volume in service["volumes"] if volume["name"] == "kube-account")
    assert {path for source in account["sources"] for path in walk(source) if path in ("token", "ca.crt")} == {
        "token",
        "ca.crt",
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", list(BUILDS))
def test_kubectl_prints_the_same(name: Any) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(BUILDS[name])], capture_output=True, text=True, timeout=60, check=True
    )
    key = lambda one: (one["kind"], one["metadata"]["name"])  # noqa: E731
    assert sorted(yaml.safe_load_all(done.stdout), key=key) == sorted(rendered(BUILDS[name]), key=key)

"""The Kubernetes manifests as `kubectl kustomize` would print them, for what our overlays use: resources and JSON patches."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pages import ROOT

Manifest = dict[str, Any]


def schema(kind: str) -> Any:
    """KubeRay's schema of a RayCluster or RayJob, which also refuses fields that it does not know."""
    folder = ROOT / "tests" / "docker"
    cluster, job = (json.loads((folder / f"{name}.json").read_text()) for name in ("raycluster", "rayjob"))
    of_cluster = cluster["properties"]["spec"]
    template = of_cluster["properties"]["headGroupSpec"]["properties"]["template"]
    job["properties"]["spec"]["properties"] |= {"rayClusterSpec": of_cluster, "submitterPodTemplate": template}
    return strict({"RayCluster": cluster, "RayJob": job}[kind])


def strict(found: Any) -> Any:
    """A schema that refuses unknown fields, as the API server does when told to be strict."""
    match found:
        case {"properties": dict(), **rest} if "additionalProperties" not in rest:
            return {key: strict(value) for key, value in found.items()} | {"additionalProperties": False}
        case dict():
            return {key: strict(value) for key, value in found.items()}
    return found


def rendered(folder: Path) -> list[Manifest]:
    """The objects of a folder with a kustomization, patched.

    Raises:
        AssertionError: a file or the target of a patch is missing, or the kustomization has what this does not know.
    """
    return _with([], folder)


def _with(found: list[Manifest], folder: Path) -> list[Manifest]:
    """What a kustomization makes of objects, if it is a component of theirs."""
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(document) <= {"apiVersion", "kind", "resources", "components", "patches"}, sorted(document)
    for name in document["resources"]:
        place = folder / name
        found = found + (rendered(place) if place.is_dir() else list(yaml.safe_load_all(place.read_text())))
    for name in document.get("components", ()):
        found = _with(found, folder / name)
    for patch in document.get("patches", ()):
        targets = [one for one in found if _is_target(one, patch["target"])]
        assert len(targets) == 1, f"{folder.name}: {patch['path']}: must have one target, got {len(targets)}"
        for step in yaml.safe_load((folder / patch["path"]).read_text()):
            _apply(targets[0], step)
    return found


def files(folder: Path) -> set[str]:
    """The names of the files that a kustomization uses, but for its own."""
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    patches = [patch["path"] for patch in document.get("patches", ())]
    return {name for name in (*document["resources"], *patches) if not (folder / name).is_dir()}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """(name, pod's spec) of everything that makes pods."""
    for one in manifests:
        match one["kind"]:
            case "Deployment":
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]
            case "RayCluster":
                yield "head", one["spec"]["headGroupSpec"]["template"]["spec"]
                for group in one["spec"]["workerGroupSpecs"]:
                    yield group["groupName"], group["template"]["spec"]
            case "ConfigMap" if "rayjob.yaml" in one["data"]:
                yield "submitter", submitter(one)["spec"]


def submitter(config: Manifest) -> Manifest:
    """The template of the pods that submit the RayJobs of a ConfigMap."""
    template: Manifest = yaml.safe_load(config["data"]["rayjob.yaml"])["spec"]["submitterPodTemplate"]
    return template


def _is_target(one: Manifest, target: dict[str, str]) -> bool:
    named = {"kind": one["kind"], "name": one["metadata"]["name"]}
    return one["apiVersion"] == f"{target['group']}/{target['version']}" and all(
        target[key] == value for key, value in named.items()
    )


def _apply(one: Manifest, step: dict[str, Any]) -> None:
    """Add to the end of a list, test a value or replace it: the steps that our patches take."""
    place: Any = one
    *way, last = (int(key) if key.isdigit() else key for key in step["path"].split("/")[1:])
    for key in way:
        place = place[key]
    match step["op"]:
        case "add" if last == "-":
            place.append(deepcopy(step["value"]))
        case "test":
            assert place[last] == step["value"], step
        case "replace":
            assert last in place or isinstance(place, list), step
            place[last] = deepcopy(step["value"])
        case _:
            raise AssertionError(step)

"""The Kubernetes manifests as `kubectl kustomize` would print them, for what our overlays use: resources and JSON patches."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def rendered(folder: Path) -> list[Manifest]:
    """The objects of a folder with a kustomization, patched.

    Raises:
        AssertionError: a file or the target of a patch is missing, or the kustomization has what this does not know.
    """
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(document) <= {"apiVersion", "kind", "resources", "patches"}, sorted(document)
    found: list[Manifest] = []
    for name in document["resources"]:
        place = folder / name
        found += rendered(place) if place.is_dir() else list(yaml.safe_load_all(place.read_text()))
    for patch in document.get("patches", ()):
        targets = [one for one in found if _is_target(one, patch["target"])]
        assert len(targets) == 1, f"{folder.name}: {patch['path']}: must have one target, got {len(targets)}"
        for step in yaml.safe_load((folder / patch["path"]).read_text()):
            _add(targets[0], step)
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


def _is_target(one: Manifest, target: dict[str, str]) -> bool:
    named = {"kind": one["kind"], "name": one["metadata"]["name"]}
    return one["apiVersion"] == f"{target['group']}/{target['version']}" and all(
        target[key] == value for key, value in named.items()
    )


def _add(one: Manifest, step: dict[str, Any]) -> None:
    """Add to the end of a list, the only step that our patches take."""
    assert step["op"] == "add" and step["path"].endswith("/-"), step
    place: Any = one
    for key in step["path"].split("/")[1:-1]:
        place = place[key]
    place.append(deepcopy(step["value"]))

"""The nodes of the joined Ray cluster: how many workers each can hold, and of what kind it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from sweeps.processes.identity import IdentityError
from sweeps.processes.job import ACCELERATOR_LABEL, Options

# Ray's name for a resource by which a node shows its accelerator; older nodes have it without the label.
ACCELERATOR_RESOURCE = "accelerator_type:"
NO_ACCELERATOR_TYPE = "no accelerator type"
NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True, kw_only=True)
class ClusterNode:
    """A node that Ray considers alive, with its total resources and its labels."""

    id: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]

    def slots(self, options: Options) -> int:
        """Return how many of a sweep's workers, or processes of its gangs, fit on this node at once, whatever else it does."""
        if not self.has(options.labels):
            return 0
        return int(min(self.resources.get(name, 0) / amount for name, amount in options.demand.items()))

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether the node has all these labels."""
        return labels.items() <= self.labels.items()

    @property
    def accelerator(self) -> str:
        """The type of the node's accelerator, as Ray detected it or the node was labelled."""
        named = (name for name in self.resources if name.startswith(ACCELERATOR_RESOURCE))
        by_resource = next(named, "").removeprefix(ACCELERATOR_RESOURCE)
        return self.labels.get(ACCELERATOR_LABEL) or by_resource or NO_ACCELERATOR_TYPE


def living_nodes() -> list[ClusterNode]:
    """Return the nodes that are alive."""
    return [
        ClusterNode(id=node["NodeID"], resources=node["Resources"], labels=node["Labels"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def workers_on(nodes: Sequence[ClusterNode], options: Options) -> int:
    """Return how many of a sweep's workers fit on these nodes at once; the processes of one gang are on different nodes."""
    slots = [node.slots(options) for node in nodes]
    workers = sum(slots) // options.hosts
    while sum(min(there, workers) for there in slots) < workers * options.hosts:
        workers -= 1
    return workers


def selector(options: Options) -> dict[str, str]:
    """Return Ray's label selector for the nodes that a sweep's workers may use.

    Avoided nodes stay in it when they are gone, as Tune reuses a worker only for an equal selector.
    """
    others = {NODE_LABEL: f"!in({','.join(options.avoid)})"} if options.avoid else {}
    return {**options.labels, **others}


def refuse_if_none_fits(options: Options, nodes: Sequence[ClusterNode]) -> None:
    """Raise unless a worker fits on the nodes, as its cohort would wait forever.

    Raises:
        IdentityError: no node has the labels or enough of a resource, or none has enough of all resources, or too few have.
    """
    labelled = [node for node in nodes if node.has(options.labels)]
    if not labelled:
        wanted = ", ".join(f"{name}={value}" for name, value in options.labels.items())
        raise IdentityError(f"Ray cluster: must have a node with the labels {wanted}, got {len(nodes)} nodes without")
    for name, amount in options.demand.items():
        if amount > (most := max(node.resources.get(name, 0) for node in labelled)):
            rule = f"must be at most the {most:g} that Ray offers here"
            raise IdentityError(f"resources.{options.path_of(name)}: {rule}, got {amount:g}")
    if not any(node.slots(options) for node in labelled):
        wanted = ", ".join(f"{options.path_of(name)} {amount:g}" for name, amount in options.demand.items())
        raise IdentityError(f"resources: must fit on one node of the Ray cluster, got {wanted}")
    if (large := sum(node.slots(options) > 0 for node in labelled)) < options.hosts:
        rule = f"must be at most the {large} nodes of the Ray cluster that are large enough"
        raise IdentityError(f"resources.hosts: {rule}, got {options.hosts}")

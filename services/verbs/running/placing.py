"""Where a sweep would be trained: on this machine, or on nodes of one kind of a Ray cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.errors import OperationError
from services.schemas import Request
from services.settings import Settings
from sweeps.forecast.batches import check_grown
from sweeps.processes.identity import identities_here
from sweeps.processes.job import ACCELERATOR_LABEL, Options
from sweeps.processes.surveying import survey_cluster
from sweeps.spec.sweep import SweepSpec
from workers.config import Program
from workers.trajectory import Identity


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The identities of a sweep's programs where it would be trained, and the options that keep its workers there.

    ``slots`` has the kinds of node of a Ray cluster that can hold its workers, with the workers that fit on them at once. It is
    empty for this machine.
    """

    identities: Mapping[Program, Identity]
    options: Options
    slots: Mapping[str, int] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        """The number of concurrent workers."""
        there = self.slots.get(self.options.kind or "")
        return self.options.slots if there is None else min(there, self.options.workers or there)

    @property
    def note(self) -> str | None:
        """What to know about a cluster whose nodes are of several kinds."""
        if len(self.slots) < 2:
            return None
        kinds = sorted(self.slots.items(), key=lambda one: (-one[1], one[0]))
        named = ", ".join(f"{kind} ({slots} {'worker' if slots == 1 else 'workers'})" for kind, slots in kinds)
        return (
            f"the nodes of the Ray cluster are of {len(kinds)} kinds: {named}; only "
            f"{self.options.kind} is used, as states are shared only between equal machines; resources.accelerator or "
            "ABEL_RAY_LABELS chooses another"
        )


def options(settings: Settings, request: Request, spec: SweepSpec) -> Options:
    """How a sweep is executed, as far as it is known without asking the cluster."""
    resources = spec.resources
    named = {ACCELERATOR_LABEL: resources.accelerator} if resources.accelerator else {}
    return Options(
        checkpoints=settings.checkpoints,
        store=settings.store,
        cache=settings.cache,
        data_dir=settings.data_dir,
        address=settings.ray_address,
        sharing=request.sharing,
        workers=request.workers,
        threads=request.threads,
        allow_nondeterminism=request.allow_nondeterminism,
        save_every_seconds=request.save_every_seconds,
        cpu=resources.cpu,
        gpu=resources.gpu,
        tpu=resources.tpu,
        hosts=resources.hosts,
        custom=resources.custom,
        cohorts_per_tuner=settings.cohorts_per_tuner,
        labels={**(settings.ray_labels or {} if settings.ray_address else {}), **named},
    )


def place(settings: Settings, request: Request, spec: SweepSpec, *, patience_seconds: float | None = None) -> Placement:
    """Choose where a sweep is trained, and identify its programs there, in a process with a worker's environment.

    Args:
        patience_seconds: how long to wait for a free worker of a Ray cluster; None for ever.

    Raises:
        DataAbsent: the data is missing.
        IdentityError: the data or the model does not fit, or no node of the Ray cluster is large enough.
        ClusterAway: the Ray cluster cannot be joined.
        OperationError: a batch is larger than the data, or grows to a size that cannot be trained; or a worker spans several
            hosts, and there is no cluster.
    """
    chosen, programs = options(settings, request, spec), [trial.program for trial in spec.expand()]
    if chosen.address is None:
        if chosen.hosts > 1:
            rule = "must be 1 without a Ray cluster, whose address is in ABEL_RAY_ADDRESS"
            raise OperationError(f"{spec.name}: resources.hosts: {rule}, got {chosen.hosts}")
        known = identities_here(programs, chosen.environment, chosen.data_dir)
        found = Placement(identities=known, options=chosen)
    else:
        survey = survey_cluster(programs, chosen, patience_seconds=patience_seconds)
        found = Placement(identities=survey.identities, options=survey.options, slots=survey.slots)
    _check(spec, found.identities)
    return found


def _check(spec: SweepSpec, identities: Mapping[Program, Identity]) -> None:
    for program, identity in identities.items():
        if program.batch_size > identity.examples:
            rule = f"must be at most the {identity.examples} training examples"
            raise OperationError(f"{spec.name}: program.batch_size: {rule}, got {program.batch_size}")
    try:
        check_grown(spec.expand(), identities)
    except ValueError as error:
        raise OperationError(f"{spec.name}: {error}") from None
    metrics = [identity.metric for identity in identities.values()]
    if len({(one.name, one.bounds, one.bounds_of) for one in metrics}) > 1:
        names = {one.name for one in metrics}
        ranges = {
            f"{one.name} in {one.bounds[0]:g}..{one.bounds[1]:g}{one.bounds_of and f' of {one.bounds_of}'}"
            for one in metrics
        }
        found = ", ".join(sorted(names if len(names) > 1 else ranges))
        rule = "its trials must be compared by one metric"
        raise OperationError(f"{spec.name}: {rule}, got {found}; give each a sweep of its own")

"""The command's side of the survey of a Ray cluster, which is done by a separate process, as Ray may end the one it is in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from sweeps.processes.identity import ask_worker
from sweeps.processes.job import ClusterAway, Options
from workers.config import Program, to_dict
from workers.trajectory import Identity


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a cluster offers a sweep: workers at once by kind of node, options for one kind, and the identities there."""

    slots: Mapping[str, int]
    options: Options
    identities: Mapping[Program, Identity]


def survey_cluster(programs: Sequence[Program], options: Options, *, patience_seconds: float | None = None) -> Survey:
    """Return the survey of the cluster at the address, by a worker on a node of the chosen kind.

    Args:
        patience_seconds: how long to wait for a worker to be free, and to answer; None for ever.

    Raises:
        IdentityError: no node is large enough for a worker, or none was free, or the data do not fit, or a plug-in failed.
        IdentityLost: the process was killed or stopped three times.
        ClusterAway: the cluster cannot be joined.
    """
    distinct = list(dict.fromkeys(programs))
    question = {
        "options": options_to_dict(options),
        "programs": [to_dict(program) for program in distinct],
        "data_dir": options.data_dir and str(options.data_dir),
        "hosts": options.hosts,
        "patience_seconds": patience_seconds,
    }
    answer = ask_worker("sweeps.run.placement.survey", question, options.environment, "the survey of the Ray cluster")
    if "away" in answer:
        raise ClusterAway(answer["away"])
    identities = map(Identity.from_dict, answer["identities"])
    return Survey(
        slots=answer["slots"],
        options=options_from_dict(answer["options"]),
        identities=dict(zip(distinct, identities, strict=True)),
    )


def options_to_dict(options: Options) -> dict[str, Any]:
    """Return options as JSON types."""
    found: dict[str, Any] = _adapter().dump_python(options, mode="json")
    return found


def options_from_dict(values: Mapping[str, Any]) -> Options:
    """Return the options of a dictionary."""
    return _adapter().validate_python(values)


@cache
def _adapter() -> TypeAdapter[Options]:
    return TypeAdapter(Options)

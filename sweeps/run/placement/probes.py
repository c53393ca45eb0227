"""Questions that a node answers itself, by Ray tasks in the environment of a worker.

The process of a task ends with it: JAX would keep the memory of its accelerator.
"""

from collections.abc import Mapping
from typing import Any

import ray

from workers.trajectory import processor


@ray.remote(num_cpus=0, max_calls=1)  # type: ignore[untyped-decorator]
def processor_there() -> str:
    """Return the CPU model and instruction set of the node."""
    return processor()


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]
def identities_there(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Answer a question for the identities of programs as a cohort's worker would."""
    from sweeps.processes import inspection  # with JAX, which neither the survey nor the other question needs

    return inspection.main(question)

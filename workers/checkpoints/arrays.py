"""The arrays of a training state in a folder, written and read by orbax. Importing this starts JAX's threads."""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def write_arrays(folder: Path, state: Any) -> None:
    """Write the leaves of a pytree by position: names and nesting belong to the task, and are not stored."""
    _orbax().save(folder, [np.asarray(leaf) for leaf in jax.tree.leaves(state)])


def read_arrays(folder: Path) -> list[jax.Array]:
    """Return the leaves, not committed to a device: arrays that are would trigger a second compilation of the epoch."""
    return [jax.device_put(np.asarray(leaf)) for leaf in _orbax().restore(folder)]


@cache
def _orbax() -> ocp.Checkpointer:
    """Return a checkpointer of this process alone, also in a gang, where orbax would by default wait for all processes."""
    if jax.process_count() == 1:
        return ocp.PyTreeCheckpointer()
    us = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=us, active_processes={us})
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)

"""Whether a program's training state fits into memory, found by tracing its creation, before anything is computed."""

import math

import jax

from sweeps.processes.memory import GIB, memory
from workers.config import Program
from workers.contracts import Training


def check_state(program: Program, training: Training) -> None:
    """Raise ValueError if a training state takes more memory than the device has; a state that cannot be traced passes."""
    try:
        state = jax.eval_shape(training.init, jax.random.key(0))
    except jax.errors.JAXTypeError:  # a task of a plug-in may create its state outside JAX
        return
    needed, most = sum(map(_bytes, jax.tree.leaves(state))), device_memory()
    if most is not None and needed > most:
        rule = f"must have a training state that fits into the {most / GIB:.1f} GiB of memory here"
        raise ValueError(f"program: {rule}, got {needed / GIB:,.1f} GiB of weights and optimiser state")


def device_memory() -> int | None:
    """Return the memory of a device of this process in bytes: the machine's, for processors; None if unknown."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return memory()[1]
    limit: int | None = (device.memory_stats() or {}).get("bytes_limit")
    return limit


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    size = int(getattr(leaf.dtype, "itemsize", 8))  # a PRNG key has none; it is small
    return size * int(math.prod(leaf.shape))

"""Whether a program's training state fits into memory, before anything is computed."""

from sweeps.processes.memory import GIB, memory
from workers.contracts import Training
from workers.mesh import device_memory, state_bytes


def check_state(training: Training) -> None:
    """Raise ValueError if a training's state takes more memory than a device has, or the machine for processors."""
    needed, most = state_bytes(training.init), device_memory() or memory()[1]
    if needed > most:
        rule = f"must have a training state that fits into the {most / GIB:.1f} GiB of memory here"
        raise ValueError(f"program: {rule}, got {needed / GIB:,.1f} GiB of weights and optimiser state")

"""How processes become one gang. Afterwards `jax.devices` returns the devices of all of them, in the order of their ranks."""

import socket

import jax

# A process that is frozen or unreachable ends the others after this time; of one that dies their sockets tell at once.
HEARTBEAT_SECONDS = 10
JOIN_SECONDS = 60


class NotJoined(ConnectionError):
    """The processes of a gang did not find each other."""


def coordinator_at(address: str) -> str:
    """Return the address "HOST:PORT" of a free port on this host, for the coordinator, which is the process of rank 0."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return f"{address}:{probe.getsockname()[1]}"


def join_gang(coordinator: str, hosts: int, rank: int) -> None:
    """Make this process one of a gang; all have to call this, before JAX computes anything.

    Raises:
        NotJoined: not all have called within ``JOIN_SECONDS``.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)  # type: ignore[no-untyped-call]
    try:
        jax.distributed.initialize(
            *(coordinator, hosts, rank),
            coordinator_bind_address=coordinator,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
        jax.devices()  # here, because each process waits in this call for all others
    except jax.errors.JaxRuntimeError as error:
        raise NotJoined(f"process {rank} of {hosts} cannot join the gang at {coordinator}: {error}") from error

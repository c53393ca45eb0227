"""How processes become one gang. Afterwards `jax.devices` returns the devices of all of them, in the order of their ranks."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax
from jax._src.lib import _jax  # type: ignore[attr-defined]

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


def join_gang(coordinator: str, hosts: int, rank: int, address: str) -> None:
    """Make this process one of a gang; all have to call this, before JAX computes anything.

    XLA ends the process if not all have called within ``JOIN_SECONDS``.

    Args:
        address: of this host, where the others reach it.

    Raises:
        NotJoined: the processes cannot tell each other of their devices.
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
        with _gloo_at(address):
            jax.devices()  # here, because each process waits in this call for all others
    except jax.errors.JaxRuntimeError as error:
        raise NotJoined(f"process {rank} of {hosts} cannot join the gang at {coordinator}: {error}") from error


@contextmanager
def _gloo_at(address: str) -> Iterator[None]:
    """Make gloo listen at an address, for which JAX has no setting: it would be that of the host's name, often loopback."""
    usual = _jax.make_gloo_tcp_collectives
    _jax.make_gloo_tcp_collectives = partial(usual, hostname=address)
    try:
        yield
    finally:
        _jax.make_gloo_tcp_collectives = usual

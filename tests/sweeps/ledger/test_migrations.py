import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, inspect, select, text, update

from sweeps.ledger import migrations, tables
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.database import engine as database_of
from sweeps.ledger.leases import Fenced, Holder, SweepBusy
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.ledger.repair import repair_ledger
from sweeps.ledger.sealing import change_rows, is_intact

# As the first version wrote it, with everything a small sweep leaves.
VERSION_1 = Path(__file__).with_name("ledger_1.sql")


VERSION_2 = VERSION_1.with_name("ledger_2.sql")  # two sweeps, one of them interrupted after an incident


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file of a ledger that version 1 wrote."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text())
    return path


def contents(path: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Every row of every table, by table, as mappings; and how the tables are made."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        made = {row["name"]: row["sql"] for row in connection.execute("SELECT name, sql FROM sqlite_master")}
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}, made


def differences(ledger: Ledger) -> list[Any]:
    with ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        return compare_metadata(context, tables.metadata)


def set_version(ledger: Ledger, value: str) -> None:
    with ledger._write() as connection:
        change_rows(connection, tables.meta, tables.meta.c.name == "schema_version", {"value": value})
    ledger.close()


@pytest.mark.databases
def test_the_revisions_make_what_the_tables_say(database: str) -> None:
    with closing(Ledger.open(database)) as ledger:
        assert differences(ledger) == []
        with ledger._engine.connect() as connection:
            index = {tuple(index["column_names"]) for index in inspect(connection).get_indexes("events")}
            assert index == {("sweep_id", "id")}
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [str(tables.SCHEMA_VERSION)]


def test_what_version_1_wrote_is_there_to_the_last_row_after_the_upgrade(old: Path) -> None:
    before, _ = contents(old)
    with closing(Ledger.open(f"sqlite:///{old}")) as ledger:
        assert differences(ledger) == []
        after, _ = contents(old)
        assert before.pop("meta") == [{"name": "schema_version", "value": "1"}]
        assert [(row["name"], row["value"]) for row in after.pop("meta")] == [
            ("schema_version", str(tables.SCHEMA_VERSION)),
            ("sweeps", '{"b3a38ba95e61":"tiny"}'),
        ]
        for name, rows in before.items():
            kept = [{column: row[column] for column in rows[0]} for row in after[name]]
            assert kept == rows, name
        assert {(row["attempts"], row["failure"]) for row in after["trials"]} == {(0, None)}
        assert all(row["final_epoch"] == row["epoch"] > 0 for row in after["trials"])  # told of at once

        (sweep,) = ledger.sweeps()
        assert (sweep.name, sweep.status) == ("tiny", SweepStatus.FINISHED)
        assert [len(ledger.curve(trial.head)) for trial in ledger.trials(sweep.id)] == [2, 2]
        ledger.end_invocation(sweep.id, ledger.begin_invocation(sweep.id), SweepStatus.FINISHED)
        assert ledger.events(sweep.id, after=8)[0].id == 9  # ids go on where they were
        assert ledger.work(sweep.id).invocations == 2


def written_by_version_2(url: str, file: Path, *harms: Any) -> dict[str, list[dict[str, Any]]]:
    """A ledger of version 2 at a URL, with what version 2 wrote, harmed by these statements."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(VERSION_2.read_text())
        for harm in harms:
            assert connection.execute(harm).rowcount
    rows, _ = contents(file)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = database_of(url)
    with closing(engine.connect().execution_options(abel_write=True)) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "2")
        for name in tables.metadata.tables.keys() & rows:
            table = Table(name, MetaData(), autoload_with=connection)
            connection.execute(table.insert(), rows[name])
    engine.dispose()
    return rows


@pytest.mark.databases
def test_what_version_2_wrote_gets_its_digests(database: str, tmp_path: Path) -> None:
    before = written_by_version_2(database, tmp_path / "2.db")
    with closing(Ledger.open(database)) as ledger:
        assert differences(ledger) == []
        tiny, longer = ledger.sweeps()
        assert (tiny.status, longer.status) == (SweepStatus.FINISHED, SweepStatus.INTERRUPTED)
        for sweep in (tiny, longer):
            ledger.verify(sweep.id)
        assert len(ledger.events(tiny.id)) + len(ledger.events(longer.id)) == len(before["events"])
        assert ledger.tracking_offset(tiny.id, "sqlite:///mlflow.db") == 4
        assert [event.payload["text"] for event in ledger.events_of(longer.id, "incident")] == ["a worker was lost"]
        with ledger._read() as connection:
            for table in tables.metadata.sorted_tables:
                assert all(is_intact(table, row) for row in connection.execute(select(table)).mappings())


@pytest.mark.databases
def test_what_version_3_wrote_is_sealed_again_but_for_damaged_trials(database: str, tmp_path: Path) -> None:
    written_by_version_2(database, tmp_path / "2.db")
    engine = database_of(database)
    with closing(engine.connect().execution_options(abel_write=True)) as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "3")
        row = migrations.version_row(3)
        connection.execute(update(tables.meta).where(tables.meta.c.name == "schema_version").values(row))
        connection.execute(text("UPDATE trials SET epoch = 1 WHERE name = (SELECT min(name) FROM trials)"))
    engine.dispose()
    with closing(Ledger.open(database)) as ledger:
        assert differences(ledger) == []
        with ledger._read() as connection:
            rows = connection.execute(select(tables.trials)).mappings().all()
        assert {row["result"] for row in rows} == {None}
        harmed = min(row["name"] for row in rows)
        assert {row["name"] for row in rows if not is_intact(tables.trials, row)} == {harmed}
        assert repair_ledger(database, lambda key: False, dry_run=False)
        for sweep in ledger.sweeps():
            ledger.verify(sweep.id)


@pytest.mark.databases
def test_a_ledger_is_not_upgraded_while_an_older_program_runs_a_sweep(database: str, tmp_path: Path) -> None:
    until, here = time.time_ns() // 1_000_000 + 60_000, Holder.here()
    lease = f"UPDATE sweeps SET invocation = 2, holder = '{here}', lease_until_ms = {until} WHERE name = 'longer'"
    written_by_version_2(database, tmp_path / "2.db", lease)
    with pytest.raises(SweepBusy, match=r"from schema version 2 to \d+; sweep 'longer': is being run by process"):
        Ledger.open(database)
    engine = database_of(database)
    with closing(engine.connect().execution_options(abel_write=True)) as connection, connection.begin():
        assert migrations.version(connection) == "2"
        connection.execute(text("UPDATE sweeps SET lease_until_ms = 1"))
    engine.dispose()
    with closing(Ledger.open(database)) as ledger:
        longer = ledger.sweep("longer")
        with pytest.raises(Fenced):  # the program that held it, were it to go on
            ledger.renew_lease(longer.id, 2)


def test_a_gap_from_before_the_upgrade_is_named_after_it(database: str, tmp_path: Path) -> None:
    written_by_version_2(database, tmp_path / "2.db", "DELETE FROM states WHERE epoch = 1")
    with closing(Ledger.open(database)) as ledger:
        for sweep in ledger.sweeps():
            with pytest.raises(LedgerDamaged, match="record of epoch 1 .* is missing"):
                ledger.verify(sweep.id)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE invocations SET trained = 'x'",
        "UPDATE checkpoints SET epoch = x'00'",
        "UPDATE sweeps SET name = x'ff' WHERE name = 'tiny'",
        "UPDATE sweeps SET spec = '{' WHERE name = 'tiny'",
        "UPDATE states SET metrics = '[' WHERE epoch = 1",
    ],
)
def test_a_row_damaged_before_the_upgrade_is_mended_after_it(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(VERSION_2.read_text())
        assert connection.execute(harm).rowcount
    with closing(Ledger.open(f"sqlite:///{file}")) as ledger:
        with pytest.raises(LedgerDamaged):
            for sweep in ledger.sweeps():
                ledger.verify(sweep.id)
        assert repair_ledger(f"sqlite:///{file}", lambda key: False, dry_run=False)
        for sweep in ledger.sweeps():
            ledger.verify(sweep.id)


def test_an_upgrade_that_fails_in_the_middle_changes_nothing(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("ALTER TABLE trials ADD COLUMN attempts INTEGER")  # in the way of the second revision
    before = contents(old)
    with pytest.raises(LedgerError, match=r"is damaged: the database reports 'duplicate column name: attempts'"):
        Ledger.open(f"sqlite:///{old}")
    assert contents(old) == before


OPENING = """
import sys
from sweeps.ledger.ledger import Ledger

print("ready", flush=True)
sys.stdin.readline()
Ledger.open(sys.argv[1]).close()
print("alembic" in sys.modules)
"""


def open_at_once(url: str, count: int = 3) -> list[bool]:
    """Open a ledger in several processes together; whether each had to load Alembic."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", OPENING, url], **pipes) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate() for process in processes]
    assert [error for _, error in answers if error] == []
    return [answer.strip() == "True" for answer, _ in answers]


@pytest.mark.databases
def test_processes_that_create_a_ledger_at_once_do_not_clash(database: str) -> None:
    assert any(open_at_once(database))
    assert open_at_once(database, 1) == [False]
    with closing(Ledger.open(database)) as ledger:
        assert differences(ledger) == []


def test_processes_that_upgrade_a_ledger_at_once_do_not_clash(old: Path) -> None:
    assert any(open_at_once(f"sqlite:///{old}"))
    with closing(Ledger.open(f"sqlite:///{old}")) as ledger:
        assert differences(ledger) == []
        assert len(ledger.sweeps()) == 1


def test_a_ledger_without_a_write_ahead_log_is_waited_for(old: Path) -> None:
    with closing(sqlite3.connect(old, check_same_thread=False)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, other.rollback)
        release.start()
        Ledger.open(f"sqlite:///{old}").close()
        release.join()


LOOKING = """
import sqlite3, sys
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.repair import repair_ledger

class Look:
    loads = 0

    def find_spec(self, name, *_):
        if name.partition(".")[0] == "alembic":
            self.loads += 1
            sqlite3.connect(sys.argv[1], timeout=0).execute("BEGIN IMMEDIATE").connection.close()

sys.meta_path.insert(0, look := Look())
url = f"sqlite:///{sys.argv[1]}"
Ledger.open(url).close() if sys.argv[2] == "open" else repair_ledger(url, lambda key: True, dry_run=True)
print(look.loads > 0)
"""


@pytest.mark.parametrize("way", ["open", "repair"])
def test_alembic_is_not_loaded_while_the_ledger_is_locked(old: Path, way: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOOKING, old, way], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.databases
@pytest.mark.parametrize("value", [str(tables.SCHEMA_VERSION + 1), "99"])
def test_a_version_that_this_program_does_not_know_is_refused(database: str, value: str) -> None:
    set_version(Ledger.open(database), value)
    with pytest.raises(
        LedgerError, match=f"schema version must be {tables.SCHEMA_VERSION} or an older one, got {value}$"
    ):
        Ledger.open(database)


@pytest.mark.parametrize("value", ["2", "0", "two", "٣", "9" * 5000])
def test_a_version_that_does_not_fit_the_tables_is_damage(database: str, value: str) -> None:
    set_version(Ledger.open(database), value)
    with pytest.raises(LedgerDamaged, match=r"schema version must be a number that matches its tables, got '.{1,20}';"):
        Ledger.open(database)


@pytest.mark.databases
def test_a_database_of_something_else_is_refused_and_left_alone(database: str) -> None:
    ledger = Ledger.open(database)
    with ledger._write() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE {migrations.VERSION_TABLE}"))
        connection.execute(text("CREATE TABLE accounts (id INTEGER)"))
    with pytest.raises(LedgerError, match=r"must be a ledger or empty, got a database with the tables accounts$"):
        Ledger.open(database)
    with ledger._engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["accounts"]
    ledger.close()

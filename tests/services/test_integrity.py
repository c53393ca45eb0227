"""No damage to a ledger changes an answer without a word: flipped bits, edited rows, emptied files.

CHAOS_FLIPS and CHAOS_EDITS say how many bits are flipped and rows edited, each in a fresh copy of the ledger.
"""

import json
import os
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stories import Story
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.errors import OperationError
from services.schemas import Request
from services.settings import Settings, SettingsError
from services.signals import Stop
from services.verbs import repair as repairs
from services.verbs.running import execution
from services.verbs.running.watching import View
from sweeps.ledger import copies as ledger_copies
from sweeps.ledger.entries import Batch
from sweeps.ledger.leases import SweepBusy
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.tables import SCHEMA_VERSION
from sweeps.processes.identity import IdentityLost
from sweeps.spec.sweep import SpecError, load_spec

FLIPS = int(os.environ.get("CHAOS_FLIPS", "30"))
EDITS = int(os.environ.get("CHAOS_EDITS", "50"))
ASKED = (["status", "--json"], ["status", "one", "--json"])
KEYS = {
    **dict.fromkeys(("sweeps", "trials", "events", "invocations"), "id"),
    **{"meta": "name", "states": "key", "checkpoints": "key", "tracking": "target"},
}


@pytest.fixture
def home(own_directories: Path, story: Story) -> Path:
    """A home with two finished sweeps."""
    home = own_directories / "abel"
    home.mkdir()
    file = home / "ledger.db"
    with closing(Ledger.open(f"sqlite:///{file}")) as ledger:
        for name in ("one", "two"):
            told = type(story)(ledger, seeds=2, epochs=8, decays=(1, 4), name=name).begin().tell(upto=3)
            first = ledger.trials(told.sweep_id)[0]
            lost = {"class": "infrastructure", "text": "a worker was lost", "again": True, "attempt": 1}
            incident = ("incident", lost | {"trials": [first.id], "epoch": 3})
            saved = [(str(first.head), 3)]
            ledger.commit(told.sweep_id, told.invocation, Batch(events=[incident], checkpoints=saved))
            told.tell().end()
            ledger.save_tracking_offset(told.sweep_id, f"sqlite:///{home}/mlflow.db", 9)
    return home


def abel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(arguments: list[str], undamaged: Result) -> str:
    """What a command says of a ledger that may be damaged."""
    done = abel(*arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"traceback: {done.exception!r}"
    if done.exit_code == 0:
        return "the same" if done.stdout == undamaged.stdout else "silently different"
    return "named" if done.exit_code == 2 and "is damaged" in done.stderr else f"{done.exit_code}: {done.output}"


def seen_in(home: Path, harms: int, harm: Any) -> Counter[str]:
    """How commands answer, each time after other harm to the file."""
    file, undamaged = home / "ledger.db", [abel(*arguments) for arguments in ASKED]
    content = file.read_bytes()
    found: Counter[str] = Counter()
    for _ in range(harms):
        shutil.rmtree(home)
        home.mkdir()
        file.write_bytes(content)
        what = harm(file)
        for arguments, right in zip(ASKED, undamaged, strict=True):
            said = answer(arguments, right)
            found[said if said in ("the same", "named") else f"{what}, {arguments}: {said}"] += 1
    return found


def test_no_flipped_bit_changes_an_answer_silently(home: Path) -> None:
    chance = random.Random(20210323)

    def flip(file: Path) -> str:
        content = bytearray(file.read_bytes())
        place, bit = chance.randrange(len(content)), chance.randrange(8)
        content[place] ^= 1 << bit
        file.write_bytes(content)
        return f"bit {bit} of byte {place}"

    found = seen_in(home, FLIPS, flip)
    assert set(found) == {"the same", "named"}, found


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "one"], ["gc", "--dry-run"], ["repair", "--dry-run"], ["report", "one"]]
)
def test_damaged_text_that_sqlite_quotes_is_damage_too(home: Path, arguments: list[str]) -> None:
    """sqlite3 raises UnicodeDecodeError where SQLite's message is not UTF-8."""
    file = home / "ledger.db"
    file.write_bytes(file.read_bytes().replace(b"NOT NULL", b"NOT N\xd5LL", 1))
    done = abel(*arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code, "is damaged" in done.stderr) == (2, True), done.output


def edited(file: Path, chance: random.Random) -> str:
    """Edit, delete, copy or swap something in a random row, as SQL allows it."""
    table = chance.choice(list(KEYS))
    with closing(sqlite3.connect(file)) as connection, connection:
        ask = connection.execute
        columns = [row[1] for row in ask(f"PRAGMA table_info({table})")]
        rows = [row[0] for row in ask(f"SELECT rowid FROM {table}")]
        row, other, column = chance.choice(rows), chance.choice(rows), chance.choice(columns)
        how = chance.choice(("update", "update", "swap", "delete", "copy"))
        here, there = (
            dict(zip(columns, ask(f"SELECT * FROM {table} WHERE rowid = ?", (one,)).fetchone(), strict=True))
            for one in (row, other)
        )
        try:
            if how == "delete":
                ask(f"DELETE FROM {table} WHERE rowid = ?", (row,))
            elif how == "copy":
                key = here[KEYS[table]]
                here[KEYS[table]] = max(rows) + 1 if isinstance(key, int) else f"{key[:-1]}z"
                ask(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", list(here.values()))
            else:
                value = there[column] if how == "swap" else _other(here[column], chance)
                ask(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
                if how == "swap":
                    ask(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (here[column], other))
        except sqlite3.IntegrityError:
            return "refused"
        return f"{how} of {table}.{column} in row {row}: {here[column]!r:.60}"


def _other(value: Any, chance: random.Random) -> Any:
    given = [None, 0, 1, -1, "", b"x", 2**40, 1.5, "9" * 20, str(value), f"{value} "]
    if isinstance(value, int | float):
        given += [value + 1, float(value), -value]
    elif value:
        place = chance.randrange(len(value))
        given += [value[:place] + chr(ord(value[place]) % 95 + 32) + value[place + 1 :], value[:-1], value.upper()]
    return chance.choice(given)


def test_no_edited_row_changes_an_answer_silently(home: Path) -> None:
    chance = random.Random(20210323)
    found = seen_in(home, EDITS, lambda file: edited(file, chance))
    assert set(found) == {"the same", "named"}, found
    assert found["named"] > 20


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "one"],
        ["report", "one"],
        ["check", "one", "--margin", "mean=1", "--baseline", "baseline.json"],
        ["track", "one"],
        ["gc", "--dry-run"],
        ["baseline", "save", "one"],
        ["backup", "copies"],
    ],
)
def test_a_lost_record_is_bad_input_to_every_command(
    home: Path, own_directories: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(own_directories)
    Path("baseline.json").write_text("{}")
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        connection.execute("DELETE FROM states WHERE epoch = 2")
    done = abel(*arguments)
    assert done.exit_code == 2, done.output
    if "check" not in arguments:  # which looks at its baseline first
        assert "is damaged" in done.stderr
        assert "`abel repair --dry-run` lists what can be restored" in " ".join(done.stderr.split())
    assert not list(Path("copies").glob("*")) if Path("copies").exists() else True


def test_damage_to_one_sweep_leaves_the_others_usable(home: Path) -> None:
    before = abel("status", "two", "--json").stdout
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        connection.execute("UPDATE sweeps SET spec = '{}' WHERE name = 'one'")
    assert abel("status", "two", "--json").stdout == before
    for arguments in (["status", "one"], ["status"]):
        refused = abel(*arguments)
        assert refused.exit_code == 2
        assert "the row of sweep 'one'" in refused.stderr


@pytest.mark.parametrize("left", [b"", b"no database, but long enough to be taken for one " * 100, None])
def test_a_file_that_lost_its_content_is_not_taken_for_a_new_one(home: Path, left: bytes | None) -> None:
    file = home / "ledger.db"
    if left is None:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DELETE FROM meta WHERE name = 'schema_version'")
    else:
        file.write_bytes(left)
    for arguments in (["status"], ["status", "one"], ["gc"], ["cancel", "one"], ["retry", "one"], ["track", "--all"]):
        refused = abel(*arguments)
        assert refused.exit_code == 2, refused.output
        assert "is damaged" in refused.stderr
    if left is not None:
        assert abel("repair").exit_code == 2
        assert file.read_bytes() == left


def test_a_log_without_its_ledger_is_not_given_to_a_new_one(home: Path) -> None:
    (home / "ledger.db").unlink()
    (home / "ledger.db-wal").write_bytes(b"what another file's log holds")
    with pytest.raises(Exception, match=r"ledger.db-wal exists without ledger.db"):
        Ledger.open(f"sqlite:///{home}/ledger.db")


def test_a_backup_is_private_verified_and_never_over_a_file(home: Path, own_directories: Path) -> None:
    copies = own_directories / "copies"
    told = json.loads(abel("backup", str(copies), "--json").stdout)
    file = Path(told["file"])
    assert (told["sweeps"], file.parent, file.stat().st_mode & 0o777) == (2, copies, 0o600)
    assert copies.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in copies.iterdir()] == [file.name]
    before = abel("status", "one", "--json").stdout
    shutil.rmtree(home)
    home.mkdir()
    shutil.copy(file, home / "ledger.db")
    assert abel("status", "one", "--json").stdout == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.ledger.copies.stamp", lambda: file.stem.removeprefix("ledger-"))
        refused = abel("backup", str(copies))
    assert (refused.exit_code, "already exists; not overwritten" in " ".join(refused.stderr.split())) == (2, True)


def test_what_cannot_be_backed_up_says_what_can_be_done(abel_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has none yet" in abel("backup", "copies").stderr
    monkeypatch.setitem(os.environ, "ABEL_LEDGER", "postgresql://host/ledger")
    refused = abel("backup", "copies")
    assert (refused.exit_code, "use pg_dump" in refused.stderr) == (2, True)


def test_a_repair_tells_what_it_restored_and_keeps_the_old_file(home: Path) -> None:
    before = abel("status", "one", "--json").stdout
    assert "intact" in abel("repair").stdout
    file = home / "ledger.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE checkpoints SET epoch = 77")
        connection.execute("DELETE FROM tracking")
    dry = abel("repair", "--dry-run")
    assert (dry.exit_code, abel("status", "one").exit_code) == (0, 2)
    told = json.loads(abel("repair", "--json").stdout)
    assert all(item["restored"] for item in told["mended"])
    assert Path(told["kept"]).exists()
    assert json.loads(abel("status", "two", "--json").stdout)["lacking"] > 0
    again = json.loads(abel("status", "one", "--json").stdout)
    assert {**again, "lacking": 0} == {**json.loads(before), "lacking": 0}


def asked_to_train(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[str]:
    """The ids of the sweeps that a repair asks to train, each of which fails."""
    asked = []

    def fail(settings: Settings, request: Request, sweep_id: str, *, view: View, stop: Stop) -> None:
        asked.append(sweep_id)
        raise error or OperationError("cannot be trained here")

    monkeypatch.setattr(repairs, "train_missing", fail)
    return asked


def lose_the_last_epoch(home: Path) -> None:
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        assert connection.execute("DELETE FROM states WHERE epoch = 8").rowcount


def ids(home: Path) -> list[str]:
    with closing(Ledger.open(f"sqlite:///{home}/ledger.db")) as ledger:
        return [row.id for row in ledger.sweeps()]


def test_a_repair_trains_sweeps_that_lost_epochs_not_namesakes(
    home: Path, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ids(home)
    with closing(Ledger.open(f"sqlite:///{home}/ledger.db")) as ledger:
        type(story)(ledger, seeds=2, epochs=6, decays=(1,), name="one").begin().tell().end()
    lose_the_last_epoch(home)
    asked = asked_to_train(monkeypatch)
    done = abel("repair", "--json")
    assert (done.exit_code, asked) == (1, [one, two])
    assert {item["sweep_id"] for item in json.loads(done.stdout)["mended"] if item["trains"]} == {one, two}


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_repair_of_one_sweep_trains_it_by_name_or_id(home: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    one, _ = ids(home)
    lose_the_last_epoch(home)
    asked = asked_to_train(monkeypatch)
    assert abel("repair", one if by == "id" else "one").exit_code == 1
    assert asked == [one]


def test_a_repair_of_an_unknown_sweep_is_refused_and_changes_nothing(home: Path) -> None:
    lose_the_last_epoch(home)
    before = (home / "ledger.db").read_bytes()
    refused = abel("repair", "typo")
    assert (refused.exit_code, "must be one that was run here (one, two)" in refused.stderr) == (2, True)
    assert (home / "ledger.db").read_bytes() == before
    assert not list(home.glob("*damaged*"))


@pytest.mark.parametrize(
    ("error", "code", "asks"),
    [
        (SpecError("a plug-in is gone"), 1, 2),
        (IdentityLost("was killed"), 1, 2),
        (KeyboardInterrupt(), 130, 1),
    ],
)
def test_a_repair_tells_what_it_mended_however_training_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, asks: int
) -> None:
    lose_the_last_epoch(home)
    asked = asked_to_train(monkeypatch, error)
    done = abel("repair", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, len(asked), len(told["trained"])) == (code, asks, asks)
    assert told["mended"]
    assert told["kept"]


def of_version_2(home: Path, harm: str) -> Path:
    """A home with a ledger that version 2 wrote, harmed by a statement."""
    file = home / "ledger.db"
    for old in home.glob("ledger.db*"):
        old.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(Path(__file__).parents[1].joinpath("sweeps", "ledger", "ledger_2.sql").read_text())
        assert connection.execute(harm).rowcount
    return file


def version(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0])


def test_a_dry_run_leaves_an_older_ledger_as_it_is_and_a_repair_keeps_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = of_version_2(home, "UPDATE events SET payload = '{' WHERE id = 2")
    asked_to_train(monkeypatch)
    dry = json.loads(abel("repair", "--dry-run", "--json").stdout)
    assert (len(dry["mended"]) > 0, version(file)) == (True, "2")
    done = json.loads(abel("repair", "--json").stdout)
    assert done["mended"] == dry["mended"]
    assert (version(Path(done["kept"])), version(file)) == ("2", str(SCHEMA_VERSION))
    assert "intact" in abel("repair").stdout


def test_pages_that_are_gone_from_an_older_ledger_cost_what_was_on_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = of_version_2(home, "UPDATE tracking SET event_id = 4")
    with closing(sqlite3.connect(file)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'states'").fetchone()[0]
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(content)
    asked_to_train(monkeypatch)
    done = abel("repair", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, version(file)) == (1, str(SCHEMA_VERSION))
    assert "2 sweeps, 4 trials" in told["mended"][0]["how"]
    assert "no such column" not in done.output
    assert {item["sweep"] for item in told["trained"]} == {"tiny", "longer"}


def test_a_ledger_is_never_away_while_another_is_put_in_its_place(home: Path) -> None:
    file = home / "ledger.db"
    before = file.read_bytes()
    with pytest.raises(FileNotFoundError):  # as if the machine went down there
        ledger_copies.replace(file, home / "none.db")
    assert file.read_bytes() == before
    with closing(Ledger.open(f"sqlite:///{file}")) as ledger:
        ledger.begin_invocation(ledger.sweep("one").id)
    with pytest.raises(SweepBusy):
        ledger_copies.replace(file, home / "none.db")


def test_settings_of_a_run_are_checked_and_its_files_are_private(
    abel_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, spec = Request(spec="fig-s6a-digits"), load_spec("fig-s6a-digits")

    class Silent(View):
        pass

    def run(**environment: str) -> None:
        settings = Settings.from_env({"ABEL_HOME": str(abel_home), **environment})
        execution.execute(settings, request, spec, view=Silent(), stop=Stop())

    def look(home: Path) -> None:
        (tmp_path / "made").touch()
        raise OperationError("seen")

    monkeypatch.setattr("services.verbs.running.preflight.check_home", look)
    with pytest.raises(SettingsError, match="ABEL_NOTIFY_URL"):
        run(ABEL_NOTIFY_URL="ftp://host")
    with pytest.raises(OperationError, match="seen"):
        run()
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0

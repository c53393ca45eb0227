"""Damage to a ledger is named by what reads it, and mended from what is left: on a sweep that was really trained."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shops import Shop
from sqlalchemy import delete, select, update

from sweeps.ledger import copies, tables
from sweeps.ledger.database import LedgerDamaged
from sweeps.ledger.entries import Batch
from sweeps.ledger.integrity import sweep_rows
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.repair import repair_ledger
from sweeps.ledger.sealing import change_rows, digest
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens
from sweeps.run.report_handler import Nondeterministic
from sweeps.spec.sweep import SweepSpec
from sweeps.urls import of_sqlite

# Neither arms nor axes are in the order of their names, and a sweep's id depends on their order.
ARMS = {
    "at": {
        "schedule": {"kind": "decay_at", "decay_epoch": 1, "learning_rate": 0.1, "decay_factor": 0.1},
        "grid": {"schedule.learning_rate": [0.1], "schedule.decay_epoch": [1, 3]},
    },
    "again": {"schedule": {"kind": "constant", "learning_rate": 0.1}},
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trained sweep is kept for the next test; not there before the first."""
    return tmp_path_factory.mktemp("trained") / "home"


@pytest.fixture
def trained(
    request: pytest.FixtureRequest, kept: Path, tmp_path: Path, database: str, spec_of: Callable[..., SweepSpec]
) -> tuple[Shop, SweepSpec, str]:
    """A finished sweep: its shop, its spec and its id."""
    spec, is_file = spec_of(arms=ARMS, seeds=[0], epochs=5), database.startswith("sqlite")
    if is_file and kept.exists():
        shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
        shop = request.getfixturevalue("shop")
        return shop, spec, shop.ledger.sweep("tiny").id
    shop = request.getfixturevalue("shop")
    sweep_id, frontier = shop.run(spec)
    shop.ledger.end_invocation(sweep_id, frontier.invocation, SweepStatus.FINISHED)
    shop.ledger.save_tracking_offset(sweep_id, "store", 3)
    if is_file:
        shop.ledger.close()
        shutil.copytree(tmp_path, kept)
    return shop, spec, sweep_id


def mend(shop: Shop, *, dry_run: bool = False) -> Any:
    return repair_ledger(shop.url, shop.workshop.checkpoints.__contains__, dry_run=dry_run)


def spoil(shop: Shop, statement: Any) -> None:
    with shop.ledger._write() as connection:
        assert connection.execute(statement).rowcount


def path(shop: Shop, sweep_id: str, trial: int = 1) -> Any:
    return shop.ledger.curve(shop.ledger.trials(sweep_id)[trial].head)


def answers(shop: Shop, sweep_id: str) -> tuple[Any, ...]:
    """All that can be asked of a sweep, but for what an attempt or an invocation leaves."""
    rows = shop.ledger.trials(sweep_id)
    return (
        [(row.name, row.status, row.epoch, row.head, row.settings, row.program, row.schedule) for row in rows],
        shop.curves(sweep_id),
        shop.decisions(sweep_id),
        shop.ledger.sweep(sweep_id).status,
    )


@pytest.mark.databases
def test_rows_have_the_same_digests_whatever_keeps_them(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, _, sweep_id = trained
    Submissions.of(shop.ledger).submit("ada", "tiny", {"name": "tiny"}, {"hours": 0.5})
    tokens = Tokens.of(shop.ledger)
    tokens.note("ada", "submit", tokens.make("ada", ["read"])[0].id)
    with shop.ledger._read() as connection:
        for table in tables.metadata.sorted_tables:
            rows = connection.execute(select(table)).mappings().all()
            assert rows, table
            for row in rows:
                # The digest of what Python wrote is that of what any database gives back.
                given = json.loads(json.dumps(dict(row)))
                assert row["digest"] == digest(table, given)
    shop.ledger.verify(sweep_id)


@pytest.mark.databases
def test_a_damaged_submission_is_refused_and_a_repair_removes_it(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, _, _ = trained
    queue, tokens = Submissions.of(shop.ledger), Tokens.of(shop.ledger)
    kept, lost = (queue.submit("ada", name, {"name": name}, {})[0] for name in ("kept", "lost"))
    token, text = tokens.make("ada", ["read"])
    spoil(shop, update(tables.submissions).where(tables.submissions.c.id == lost.id).values(owner="bob"))
    spoil(shop, update(tables.tokens).values(scopes="admin"))
    with pytest.raises(LedgerDamaged):
        queue.open_ones()
    with pytest.raises(LedgerDamaged):
        tokens.known(text)
    assert [(item.what, item.restored) for item in mend(shop)] == [
        ("1 of the service's submissions", False),
        ("1 of the service's tokens", False),
    ]
    assert [one.id for one in queue.open_ones()] == [kept.id]
    assert tokens.known(text) is None and token not in tokens.all()


@pytest.mark.databases
def test_an_edited_record_is_named_with_its_trial(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, _, sweep_id = trained
    lost = path(shop, sweep_id)[2]
    changed = json.dumps({**lost.metrics, "test_error": 0.5})
    spoil(shop, update(tables.states).where(tables.states.c.key == lost.key).values(metrics=changed))
    trials = shop.ledger.trials(sweep_id)
    told = (
        rf"is damaged: sweep 'tiny' .*: trial 'at .*': the record of epoch 3 \(state {lost.key[:12]}\) does not match"
    )
    with pytest.raises(LedgerDamaged, match=told):
        list(shop.ledger.curves(shop.ledger.sweep(sweep_id), trials))
    with pytest.raises(LedgerDamaged):
        shop.ledger.states([lost.key])
    with pytest.raises(LedgerDamaged):
        shop.ledger.verify(sweep_id)


@pytest.mark.parametrize("epoch", [1, 5])
def test_a_lost_record_at_an_end_of_a_path_is_named_and_trained_again(
    trained: tuple[Shop, SweepSpec, str], epoch: int
) -> None:
    lose_and_restore(*trained, epoch)


@pytest.mark.databases
def test_a_lost_record_is_named_and_trained_again(trained: tuple[Shop, SweepSpec, str]) -> None:
    lose_and_restore(*trained, 3)


def lose_and_restore(shop: Shop, spec: SweepSpec, sweep_id: str, epoch: int) -> None:
    before, lost = answers(shop, sweep_id), path(shop, sweep_id)[epoch - 1]
    spoil(shop, delete(tables.states).where(tables.states.c.key == lost.key))
    with pytest.raises(LedgerDamaged, match=r"the record of (epoch \d|state \w+) .*is missing"):
        shop.ledger.curve(shop.ledger.trials(sweep_id)[1].head)
    with pytest.raises(LedgerDamaged, match="expected 5 epochs of trial .*, found"):
        shop.ledger.paths(sweep_id)

    told = mend(shop, dry_run=True)
    with pytest.raises(LedgerDamaged):
        shop.ledger.verify(sweep_id)  # a dry run changes nothing
    assert mend(shop) == told
    assert f"path from epoch {epoch} to 5" in told[-1].what
    assert all(item.restored and item.trains for item in told)
    assert shop.ledger.sweep(sweep_id).status is SweepStatus.INTERRUPTED
    again, frontier = shop.run(spec)
    shop.ledger.end_invocation(sweep_id, frontier.invocation, SweepStatus.FINISHED)
    assert again == sweep_id
    assert frontier.trained == 1  # of the others the ledger has records
    assert answers(shop, sweep_id) == before
    shop.ledger.verify(sweep_id)
    assert mend(shop) == []


def test_what_is_trained_again_must_match_the_records_after_it(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, spec, sweep_id = trained
    _, _, lost, after, _ = path(shop, sweep_id)
    with shop.ledger._write() as connection:
        connection.execute(delete(tables.states).where(tables.states.c.key == lost.key))
        at = tables.states.c
        row = dict(connection.execute(select(tables.states).where(at.key == after.key)).mappings().one())
        row["metrics"] = row["metrics"].replace('"train_loss":', '"train_loss":1')
        sealed = {"metrics": row["metrics"], "digest": digest(tables.states, row)}  # as if it had been measured so
        connection.execute(update(tables.states).where(at.key == after.key).values(sealed))
    mend(shop)
    with pytest.raises(Nondeterministic, match="train_loss"):
        shop.run(spec)


def ring_of_one(states: Any) -> list[tuple[Any, Any]]:
    return [(states[2].key, states[2].key)]


def ring_of_swapped_parents(states: Any) -> list[tuple[Any, Any]]:
    return [(states[0].key, states[2].parent), (states[2].key, states[0].parent)]


@pytest.mark.databases
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("ring", [ring_of_one, ring_of_swapped_parents])
def test_parents_that_form_a_ring_are_named_and_mended(
    trained: tuple[Shop, SweepSpec, str], ring: Callable[..., Any], sealed: bool
) -> None:
    shop, spec, sweep_id = trained
    before = answers(shop, sweep_id)
    for key, parent in ring(path(shop, sweep_id)):
        with shop.ledger._write() as connection:
            there = tables.states.c.key == key
            row = dict(connection.execute(select(tables.states).where(there)).mappings().one()) | {"parent": parent}
            seal = {"digest": digest(tables.states, row)} if sealed else {}  # sealed: damaged before the upgrade
            connection.execute(update(tables.states).where(there).values(parent=parent, **seal))
    for ask in (shop.ledger.verify, shop.ledger.paths):
        with pytest.raises(LedgerDamaged):
            ask(sweep_id)
    assert mend(shop)
    _, frontier = shop.run(spec)
    shop.ledger.end_invocation(sweep_id, frontier.invocation, SweepStatus.FINISHED)
    assert answers(shop, sweep_id) == before
    shop.ledger.verify(sweep_id)


TRIALS, SWEEPS, EVENTS = tables.trials, tables.sweeps, tables.events
HARM = {
    "trial edited": update(TRIALS).where(TRIALS.c.number == 1).values(epoch=4),
    "trial's settings edited": update(TRIALS).where(TRIALS.c.number == 1).values(settings="{"),
    "trial deleted": delete(TRIALS).where(TRIALS.c.number == 0),
    "trials of an arm deleted": delete(TRIALS).where(TRIALS.c.arm == "at"),
    "sweep's id edited": update(SWEEPS).values(id="0" * 12),
    "sweep edited": update(SWEEPS).values(status="running"),
    "sweep's name edited": update(SWEEPS).values(name="other"),
    "list of sweeps edited": update(tables.meta).where(tables.meta.c.name == "sweeps").values(value="{}"),
    "list of sweeps deleted": delete(tables.meta).where(tables.meta.c.name == "sweeps"),
    "checkpoint edited": update(tables.checkpoints).values(epoch=77),
    "tracking deleted": delete(tables.tracking),
    "version edited": update(tables.meta).where(tables.meta.c.name == "schema_version").values(value="2"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_follows_from_other_rows_is_restored_without_training(
    trained: tuple[Shop, SweepSpec, str], harm: str
) -> None:
    shop, spec, sweep_id = trained
    before = answers(shop, sweep_id)
    spoil(shop, HARM[harm])
    with pytest.raises(LedgerDamaged), closing(Ledger.open(shop.url)) as ledger:
        ledger.verify(sweep_id)
    told = mend(shop)
    assert told
    assert all(item.restored and not item.trains for item in told), told
    with closing(Ledger.open(shop.url)) as ledger:
        ledger.verify(sweep_id)
    assert answers(shop, sweep_id) == before
    assert mend(shop) == []
    assert shop.run(spec)[1].trained == 0


OLD_LOSSES = {
    "a trial": delete(TRIALS).where(TRIALS.c.number == 1),
    "the last arm": delete(TRIALS).where(TRIALS.c.arm == "again"),
    "the sweep": update(SWEEPS).values(forecast="damaged"),
}


@pytest.mark.parametrize("lost", OLD_LOSSES.values(), ids=OLD_LOSSES)
def test_a_sweep_is_restored_where_its_spec_was_kept_with_sorted_keys(
    trained: tuple[Shop, SweepSpec, str], lost: bool
) -> None:
    shop, spec, sweep_id = trained
    before = answers(shop, sweep_id)
    with shop.ledger._write() as connection:
        as_in_0_2 = {"spec": json.dumps(spec.to_dict(), sort_keys=True)}
        assert change_rows(connection, tables.sweeps, tables.sweeps.c.id == sweep_id, as_in_0_2)
    spoil(shop, lost)
    assert all(item.restored for item in mend(shop))
    assert answers(shop, sweep_id) == before
    assert shop.run(spec)[0] == sweep_id


LOSSES = {
    "an event": (delete(EVENTS).where(EVENTS.c.kind == "progress"), "'progress' events"),
    "an account": (delete(tables.invocations), "the totals of 1 invocation"),
    "an incident": (update(EVENTS).where(EVENTS.c.kind == "schedule").values(payload="{}"), "'schedule' events"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_nothing_tells_of_is_lost_and_named(trained: tuple[Shop, SweepSpec, str], loss: str) -> None:
    shop, _, sweep_id = trained
    statement, what = LOSSES[loss]
    spoil(shop, statement)
    with pytest.raises(LedgerDamaged):
        shop.ledger.verify(sweep_id)
    assert [item.what.endswith(what) for item in mend(shop) if not item.restored] == [True]
    shop.ledger.verify(sweep_id)


UNREADABLE = {
    "sweep": (SWEEPS, SWEEPS.c.name == "tiny", {"forecast": "{"}),
    "sweep's identities": (SWEEPS, SWEEPS.c.name == "tiny", {"identities": "[{}]"}),
    "trial": (TRIALS, TRIALS.c.number == 1, {"settings": "{"}),
    "trial's result": (TRIALS, TRIALS.c.number == 1, {"result": '{"minimum": 1}'}),
    "trial's status": (TRIALS, TRIALS.c.number == 1, {"status": "odd"}),
    "state": (tables.states, tables.states.c.epoch == 5, {"metrics": "{"}),
    "event": (EVENTS, EVENTS.c.kind == "schedule", {"payload": "{"}),
}


@pytest.mark.parametrize("harm", UNREADABLE)
def test_a_row_damaged_before_it_got_its_digest_is_mended(trained: tuple[Shop, SweepSpec, str], harm: str) -> None:
    shop, _, sweep_id = trained
    table, where, new = UNREADABLE[harm]
    with shop.ledger._write() as connection:
        change_rows(connection, table, where, new)
    with pytest.raises(LedgerDamaged):
        shop.ledger.verify(sweep_id)
    with shop.ledger._read() as connection:
        assert [row.id for row in sweep_rows(connection)[0]] == ([] if table is SWEEPS else [sweep_id])
    assert mend(shop)
    assert mend(shop) == []
    for sweep in shop.ledger.sweeps():
        if table is not tables.states:  # which its trials train again
            shop.ledger.verify(sweep.id)


def test_a_broken_sweep_is_entered_again_without_training(
    trained: tuple[Shop, SweepSpec, str],
) -> None:
    shop, spec, sweep_id = trained
    before = answers(shop, sweep_id)
    spoil(shop, update(tables.sweeps).values(identities="[]"))
    (lost,) = mend(shop)
    assert (lost.sweep, lost.restored) == ("tiny", False)
    assert shop.ledger.sweeps() == []
    again, frontier = shop.run(spec)
    shop.ledger.end_invocation(again, frontier.invocation, SweepStatus.FINISHED)
    assert (again, frontier.trained) == (sweep_id, 0)
    assert answers(shop, sweep_id) == before


def test_a_cancelled_trial_stays_so_and_says_where_its_records_end(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, _, sweep_id = trained
    with shop.ledger._hold(sweep_id) as sweep:
        sweep.row["status"] = SweepStatus.CANCELLED
    row = shop.ledger.trials(sweep_id)[1]
    invocation = shop.ledger.begin_invocation(sweep_id)
    ended = {row.id: (TrialStatus.CANCELLED, None)}
    shop.ledger.commit(sweep_id, invocation, Batch(ended=ended))
    shop.ledger.end_invocation(sweep_id, invocation, SweepStatus.CANCELLED)
    lost = path(shop, sweep_id)[3]
    spoil(shop, delete(tables.states).where(tables.states.c.key == lost.key))
    (told,) = [item for item in mend(shop) if not item.restored]
    assert "`abel retry`" in told.how
    assert (shop.ledger.trials(sweep_id)[1].status, shop.ledger.trials(sweep_id)[1].epoch) == ("cancelled", 3)


def test_rows_that_were_added_are_named_and_removed(trained: tuple[Shop, SweepSpec, str]) -> None:
    shop, _, sweep_id = trained
    with shop.ledger._write() as connection:
        for table in (tables.events, tables.invocations):
            row = dict(connection.execute(select(table).limit(1)).mappings().one())
            connection.execute(table.insert().values(row | {"id": 1000}))
    for ask in (shop.ledger.events, shop.ledger.work):
        with pytest.raises(LedgerDamaged):
            ask(sweep_id)
    assert all(item.restored for item in mend(shop))
    shop.ledger.verify(sweep_id)


@pytest.mark.parametrize("table", [SWEEPS, TRIALS, tables.tracking, tables.checkpoints], ids=str)
def test_a_damaged_copy_of_a_row_is_named_and_removed(trained: tuple[Shop, SweepSpec, str], table: Any) -> None:
    shop, _, sweep_id = trained
    key = list(table.primary_key)[-1].name
    with shop.ledger._write() as connection:
        row = dict(connection.execute(select(table).limit(1)).mappings().one())
        connection.execute(table.insert().values(row | {key: "another"}))
    assert all(item.restored for item in mend(shop))
    assert mend(shop) == []
    with shop.ledger._read() as connection:
        assert "another" not in connection.scalars(select(table.c[key])).all()
    shop.ledger.verify(sweep_id)


def test_pages_that_are_gone_cost_what_was_on_them(trained: tuple[Shop, SweepSpec, str], tmp_path: Path) -> None:
    shop, _, sweep_id = trained
    file = tmp_path / "ledger.db"
    shop.ledger.close()
    with closing(sqlite3.connect(file)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'states'").fetchone()[0]
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(content)
    with pytest.raises(LedgerDamaged, match="the database"), closing(Ledger.open(shop.url)) as ledger:
        ledger.verify(sweep_id)
    with pytest.raises(LedgerDamaged, match="the database"):
        mend(shop)
    new = tmp_path / "new.db"
    assert copies.salvage(file, new)["trials"] == 3
    assert all(item.trains for item in repair_ledger(of_sqlite(new), lambda key: False, dry_run=False) if item.sweep)
    with closing(Ledger.open(of_sqlite(new))) as ledger:
        ledger.verify(sweep_id)

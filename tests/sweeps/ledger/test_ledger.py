import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Server
from shops import Shop
from sqlalchemy import event, select, update

from sweeps.ledger import tables
from sweeps.ledger.database import LedgerError
from sweeps.ledger.entries import Batch
from sweeps.ledger.holding import HeldSweep
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.repair import repair_ledger
from sweeps.spec.sweep import SweepSpec
from workers.reports import Record

METRICS = {
    "train_loss": 0.1 + 0.2,
    "weight_norm_sq": 1e-310,
    "test_loss": float("nan"),
    "grad_norm_sq": float("inf"),
    "seconds": 0.5,
    "zero": -0.0,
}


def record(epoch: int, *, metrics: dict[str, float] = METRICS, key: str | None = None) -> Record:
    name = f"{epoch:064x}" if key is None else key
    return Record(key=name, parent=f"{epoch - 1:064x}", epoch=epoch, metrics=metrics, finished_at_ms=1000 + epoch)


@pytest.fixture
def entered(shop: Shop, spec_of: Callable[..., SweepSpec]) -> tuple[Ledger, str, int]:
    _, _, sweep_id = shop.enter(spec_of())
    return shop.ledger, sweep_id, shop.ledger.begin_invocation(sweep_id)


@pytest.mark.databases
def test_metrics_come_back_bit_for_bit(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.commit(sweep_id, invocation, Batch(records=[record(1)]))
    stored = ledger.states([f"{1:064x}"])[f"{1:064x}"]
    assert {name: value.hex() for name, value in stored.metrics.items()} == {
        name: value.hex() for name, value in METRICS.items()
    }
    assert stored.finished_at_ms == 1001


def test_what_does_not_fit_on_the_disk_is_told_and_leaves_nothing_behind(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.commit(sweep_id, invocation, Batch(records=[record(1)]))
    with ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")  # SQLite's own full disk, kept by this connection
    with pytest.raises(
        LedgerError, match=r"ledger sqlite:///.*: cannot be opened or written: database or disk is full"
    ):
        ledger.commit(sweep_id, invocation, Batch(records=[record(epoch) for epoch in range(2, 300)]))
    assert list(ledger.states([f"{epoch:064x}" for epoch in range(1, 300)])) == [f"{1:064x}"]


@pytest.mark.databases
def test_a_state_is_written_once_and_stays(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.commit(sweep_id, invocation, Batch(records=[record(1)]))
    ledger.commit(sweep_id, invocation, Batch(records=[record(1, metrics={**METRICS, "train_loss": 9.0})]))
    assert ledger.states([f"{1:064x}"])[f"{1:064x}"].metrics["train_loss"] == 0.1 + 0.2


@pytest.mark.databases
def test_a_curve_is_the_path_to_a_head(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.commit(sweep_id, invocation, Batch(records=[record(epoch) for epoch in range(1, 301)]))
    assert [state.epoch for state in ledger.curve(f"{300:064x}")] == list(range(1, 301))
    assert ledger.curve(None) == []


@pytest.mark.databases
def test_entering_a_sweep_again_changes_nothing(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    _, _, first = shop.enter(spec_of())
    _, _, again = shop.enter(spec_of())
    assert again == first
    assert len(shop.ledger.trials(first)) == 20
    assert [event.kind for event in shop.ledger.events(first)] == ["sweep_started"]


@pytest.mark.databases
def test_a_changed_description_is_taken_and_is_news(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    _, _, sweep_id = shop.enter(spec_of())
    _, _, again = shop.enter(spec_of(title="Another title", figure="decay_time"))
    assert again == sweep_id
    assert shop.ledger.sweep(sweep_id).spec["title"] == "Another title"
    shop.ledger.describe_sweep(sweep_id, spec_of(title="Another title", figure="decay_time").to_dict())
    assert [event.kind for event in shop.ledger.events(sweep_id)] == ["sweep_started", "sweep_described"]


@pytest.mark.databases
def test_another_name_of_an_arm_is_another_sweep(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    constant = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
    _, _, one = shop.enter(spec_of(arms={"fixed": constant}))
    _, _, other = shop.enter(spec_of(arms={"constant": constant}))
    assert one != other


@pytest.mark.databases
def test_a_name_means_its_newest_sweep(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    _, _, old = shop.enter(spec_of())
    _, _, new = shop.enter(spec_of(seeds=[0, 1, 2]))
    assert old != new
    assert shop.ledger.sweep("tiny").id == new
    assert shop.ledger.sweep(old).id == old


@pytest.mark.databases
def test_an_unknown_sweep_is_named_with_those_that_are_known(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    shop.enter(spec_of())
    with pytest.raises(LedgerError, match=r"'nothing'.*\(tiny\)"):
        shop.ledger.sweep("nothing")


@pytest.mark.databases
def test_events_are_numbered_in_order_and_paged(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.commit(sweep_id, invocation, Batch(events=[("note", {"text": str(number)}) for number in range(5)]))
    first, *_ = page = ledger.events(sweep_id, after=0, limit=3)
    assert first.kind == "sweep_started"
    rest = ledger.events(sweep_id, after=page[-1].id)
    assert [event.payload["text"] for event in [*page[1:], *rest]] == list("01234")


@pytest.mark.databases
def test_a_tracking_offset_moves(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, _ = entered
    assert ledger.tracking_offset(sweep_id, "here") == 0
    ledger.save_tracking_offset(sweep_id, "here", 3)
    ledger.save_tracking_offset(sweep_id, "here", 7)
    assert ledger.tracking_offset(sweep_id, "here") == 7
    assert ledger.tracking_offset(sweep_id, "there") == 0


@pytest.mark.databases
def test_a_batch_is_all_or_nothing(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    trial = ledger.trials(sweep_id)[0].id
    poisoned = Batch(
        records=[record(1)],
        heads={trial: (f"{1:064x}", 1)},
        events=[("note", {"text": object()})],  # not JSON
    )
    with pytest.raises(TypeError):
        ledger.commit(sweep_id, invocation, poisoned)
    assert ledger.states([f"{1:064x}"]) == {}
    assert ledger.trials(sweep_id)[0].status is TrialStatus.WAITING


KILLED_IN_A_TRANSACTION = """
import os, signal, sys
from sqlalchemy import event
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from workers.reports import Record

url, sweep_id, invocation, statements = sys.argv[1:]
ledger = Ledger.open(url)
left = int(statements)

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def count(*_):
    global left
    left -= 1
    if not left:
        kill()

event.listen(ledger._engine, "after_cursor_execute", count)
if not left:
    event.listen(ledger._engine, "commit", kill)  # comes before the commit itself
record = Record(key="a" * 64, parent="b" * 64, epoch=1, metrics={"seconds": 1.0}, finished_at_ms=1)
ledger.commit(sweep_id, int(invocation), Batch(records=[record], events=[("note", {"text": "half"})]))
kill()
"""


@pytest.mark.databases
@pytest.mark.parametrize(("statements", "written"), [(1, 0), (3, 0), (0, 0), (-1, 1)])
def test_a_killed_writer_leaves_all_of_a_transaction_or_nothing(
    entered: tuple[Ledger, str, int], shop: Shop, statements: int, written: int
) -> None:
    ledger, sweep_id, invocation = entered
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_TRANSACTION, shop.url, sweep_id, str(invocation), str(statements)],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(ledger.states(["a" * 64])) == written
    assert [event.kind for event in ledger.events(sweep_id)] == ["sweep_started"] + ["note"] * written
    assert ledger.work(sweep_id).trained == written
    ledger.commit(sweep_id, invocation, Batch(records=[record(1)]))


@pytest.mark.databases
def test_writers_in_several_threads_wait_for_each_other(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered

    def write(number: int) -> None:
        for step in range(20):
            ledger.commit(sweep_id, invocation, Batch(events=[("note", {"text": f"{number}.{step}"})]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.events(sweep_id, limit=1000)) == 1 + 6 * 20


@pytest.mark.databases
def test_an_error_may_hold_any_text(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    trial = ledger.trials(sweep_id)[0].id
    ended = (TrialStatus.FAILED, "100 %: \0 'ä' \"😀\" \\x00")
    ledger.commit(sweep_id, invocation, Batch(ended={trial: ended}, events=[("note", {"text": ended[1]})]))
    assert ledger.trials(sweep_id)[0].error == ended[1].replace("\0", "")
    assert ledger.events(sweep_id)[-1].payload["text"] == ended[1]


@pytest.mark.databases
def test_statuses_of_a_sweep(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    ledger.end_invocation(sweep_id, invocation, SweepStatus.INTERRUPTED, seconds_committing=0.5, seconds_starting=2.0)
    assert ledger.sweep(sweep_id).status is SweepStatus.INTERRUPTED
    work = ledger.work(sweep_id)
    assert (work.invocations, work.seconds_committing, work.seconds_starting) == (1, 0.5, 2.0)
    ledger.begin_invocation(sweep_id)
    assert ledger.sweep(sweep_id).status is SweepStatus.RUNNING


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("commit", "commit"), ("commit", "describe"), ("describe", "commit"), ("end", "describe")),
        *(("describe", "end"), ("cancel", "describe"), ("describe", "cancel"), ("enter", "commit")),
    ],
)
def test_no_event_is_seen_before_one_with_a_smaller_id(
    shop: Shop,
    spec_of: Callable[..., SweepSpec],
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
) -> None:
    spec = spec_of()
    trials, identities, sweep_id = shop.enter(spec)
    invocation = None if "cancel" in (first, second) else shop.ledger.begin_invocation(sweep_id)
    last = shop.ledger.events(sweep_id)[-1].id
    has_id, go_on, append = threading.Event(), threading.Event(), HeldSweep.append

    def held_up(*arguments: Any) -> None:
        append(*arguments)
        if not has_id.is_set():
            has_id.set()
            go_on.wait()

    def write(name: str) -> None:
        match name:
            case "commit":
                shop.ledger.commit(sweep_id, invocation, Batch(events=[("note", {})]))
            case "end":
                shop.ledger.end_invocation(sweep_id, invocation, SweepStatus.FINISHED)
            case "describe":
                shop.ledger.describe_sweep(sweep_id, {"title": "another"})
            case "enter":
                shop.ledger.create_sweep(spec.name, {"title": "a third"}, trials, identities)
            case "cancel":
                shop.ledger.cancel_trials(sweep_id, [shop.ledger.trials(sweep_id)[0].id])

    monkeypatch.setattr(HeldSweep, "append", held_up)
    slow, fast = (threading.Thread(target=write, args=(name,)) for name in (first, second))
    slow.start()
    has_id.wait()
    fast.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with postgres.connect() as watch:
        while fast.is_alive() and not watch.execute(waiting).fetchone()[0]:
            pass
    assert shop.ledger.events(sweep_id, after=last) == []
    go_on.set()
    slow.join()
    fast.join()
    assert len(shop.ledger.events(sweep_id, after=last)) == 2


def at_once(postgres: Server, held_up: Callable[..., None], *others: Any) -> list[Any]:
    """Do other things while something holds locks, which it goes on with once they wait for it; errors of all."""
    errors = []

    def done(what: Callable[..., Any]) -> None:
        try:
            what()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=done, args=(other,)) for other in others]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def wait() -> None:
        for thread in threads:
            thread.start()
        with postgres.connect() as watch:
            while sum(thread.is_alive() for thread in threads) > watch.execute(waiting).fetchone()[0]:
                pass

    done(lambda: held_up(wait))
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_may_be_the_first_to_write_an_offset(
    shop: Shop, spec_of: Callable[..., SweepSpec], postgres: Server
) -> None:
    _, _, sweep_id = shop.enter(spec_of())

    def hold(wait: Callable[[], None]) -> None:
        with shop.ledger._hold(sweep_id):
            wait()

    def save() -> None:
        shop.ledger.save_tracking_offset(sweep_id, "store", 3)

    assert at_once(postgres, hold, save, save) == []
    assert shop.ledger.tracking_offset(sweep_id, "store") == 3
    shop.ledger.verify(sweep_id)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_repair_and_a_commit_do_not_wait_for_each_other(
    shop: Shop, spec_of: Callable[..., SweepSpec], postgres: Server
) -> None:
    _, _, sweep_id = shop.enter(spec_of())
    trial = tables.trials.c.number == 0
    with shop.ledger._write() as connection:
        connection.execute(update(tables.trials).where(trial).values(epochs=7))  # damaged, so it goes

    def commit(wait: Callable[[], None]) -> None:
        with shop.ledger._hold(sweep_id) as sweep:
            wait()
            sweep.connection.execute(select(tables.trials).where(trial).with_for_update()).all()

    assert at_once(postgres, commit, lambda: repair_ledger(shop.url, lambda key: False, dry_run=False)) == []
    shop.ledger.verify(sweep_id)


def test_checkpoints_are_pruned_in_the_order_in_which_commits_lock_them(entered: tuple[Ledger, str, int]) -> None:
    ledger, sweep_id, invocation = entered
    keys = [f"{number:04}" for number in range(1200)]
    ledger.commit(sweep_id, invocation, Batch(checkpoints=[(key, 1) for key in keys]))
    locked = []

    @event.listens_for(ledger._engine, "before_cursor_execute")
    def note(
        connection: object, cursor: object, statement: str, parameters: Any, context: object, executemany: bool
    ) -> None:
        if statement.startswith("SELECT") and "FROM checkpoints" in statement:
            locked.extend(key for key in parameters if key in known)

    known = set(keys)
    ledger.prune_checkpoints(reversed(keys))
    assert locked == keys
    assert ledger.checkpointed(keys) == set()


WRITER = """
import sys
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger

url, sweep_id, invocation = sys.argv[1:]
ledger = Ledger.open(url)
for step in range(100):
    if int(invocation):
        ledger.commit(sweep_id, int(invocation), Batch(events=[("note", {"step": step}), ("note", {"step": step})]))
    else:
        ledger.describe_sweep(sweep_id, {"title": str(step)})
"""


@pytest.mark.databases
def test_a_reader_of_two_writers_misses_no_event(entered: tuple[Ledger, str, int], shop: Shop) -> None:
    ledger, sweep_id, invocation = entered
    command = [sys.executable, "-c", WRITER, shop.url, sweep_id]
    writers = [subprocess.Popen([*command, str(number)]) for number in (invocation, 0)]
    seen, running = [], True
    while running:
        running = any(writer.poll() is None for writer in writers)  # asked first: what comes after is read below
        while page := ledger.events(sweep_id, after=seen[-1].id if seen else 0, limit=7):
            seen += page
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen == ledger.events(sweep_id, limit=1000)
    assert len(seen) == 1 + 2 * 100 + 100


@pytest.mark.databases
def test_two_sweeps_may_enter_the_same_states_at_the_same_time(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    """In whatever order each has them: neither waits for the other for ever."""
    records = [record(epoch) for epoch in range(1, 60)]
    errors = []

    def write(name: str, order: int) -> None:
        _, _, sweep_id = shop.enter(spec_of(name=name))
        invocation = shop.ledger.begin_invocation(sweep_id)
        try:
            for start in range(0, 59, 20):
                batch = records[start : start + 20][::order]
                shop.ledger.commit(sweep_id, invocation, Batch(records=batch, checkpoints=[(r.key, 1) for r in batch]))
        except LedgerError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(f"s{number}", 1 - 2 * (number % 2))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(shop.ledger.states([each.key for each in records])) == 59


def test_a_cut_write_ahead_log_loses_only_its_last_transactions(
    entered: tuple[Ledger, str, int], shop: Shop, tmp_path: Path
) -> None:
    """As a machine leaves it that lost its power before the last bytes were on the disk."""
    ledger, sweep_id, invocation = entered
    with ledger._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
    for epoch in range(1, 21):
        ledger.commit(sweep_id, invocation, Batch(records=[record(epoch)], events=[("note", {"epoch": epoch})]))
    log = (tmp_path / "ledger.db-wal").read_bytes()
    cut = tmp_path / "cut"
    cut.mkdir()
    counts = []
    for size in [*range(0, len(log), 7919), len(log)]:
        shutil.copy(tmp_path / "ledger.db", cut / "ledger.db")
        (cut / "ledger.db-wal").write_bytes(log[:size])
        with closing(Ledger.open(f"sqlite:///{cut}/ledger.db")) as left:
            told = [event.payload["epoch"] for event in left.events(sweep_id) if event.kind == "note"]
            assert told == list(range(1, len(told) + 1))
            assert len(left.states([f"{epoch:064x}" for epoch in range(1, 21)])) == len(told)
            assert left.work(sweep_id).trained == len(told)
            counts.append(len(told))
        for file in cut.iterdir():
            file.unlink()
    assert counts == sorted(counts)
    assert set(counts) == set(range(21))

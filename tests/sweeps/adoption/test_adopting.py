"""`abel adopt`: epochs that other code recorded, kept where this code computes the same bits and nowhere else."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import pytest
from answers import answer_here
from shops import Shop
from typer.testing import CliRunner

from abel.plans import EpochPlan
from abel.schedules import Constant
from services.cli.app import app
from services.settings import Settings
from services.verbs import adopt as verb
from services.verbs import gc
from services.verbs.adopt import adopt
from sweeps.ledger.database import LedgerError
from sweeps.ledger.records import SweepStatus
from sweeps.processes.replaying import ReplayError, replay_way
from sweeps.spec.sweep import SweepSpec
from workers import segments, trajectory
from workers.config import Program, to_dict
from workers.randomness import epoch_key
from workers.workshop import Workshop

LATER = {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epoch": 2}
ONE = {"seeds": [0], "arms": {"c": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}}
FORKED = {"seeds": [0], "epochs": 3, "arms": ONE["arms"] | {"at": {"schedule": LATER}}}  # after epoch 2
NUMERICS, PLAN = trajectory.numerics, Constant.plan


OtherCode = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def settings(shop: Shop) -> Settings:
    return Settings(home=shop.directory, ledger_url=shop.url, tracking_uri=f"sqlite:///{shop.directory}/mlflow.db")


@pytest.fixture(autouse=True)
def answers_from_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no worker processes, except where they are tested."""
    if not request.node.get_closest_marker("slow"):
        answer_here(monkeypatch)


@pytest.fixture
def with_other_code(monkeypatch: pytest.MonkeyPatch) -> OtherCode:
    """Code that is named otherwise, and what is changed of it: "module__name" to a value."""

    @contextmanager
    def build(**changes: Any) -> Iterator[None]:
        with monkeypatch.context() as other:
            other.setattr(trajectory, "code_digest", lambda program: "0" * 64)
            for place, value in changes.items():
                module, _, name = place.rpartition("__")
                other.setattr(
                    {"trajectory": trajectory, "segments": segments, "constant": Constant}[module], name, value
                )
            yield

    return build


@pytest.fixture
def recorded(shop: Shop, with_other_code: OtherCode) -> Callable[..., str]:
    """Run a sweep with other code; returns its id."""

    def run(spec: SweepSpec, sharing: bool = True, **changes: Any) -> str:
        with with_other_code(**changes):
            sweep_id, frontier = shop.run(spec, sharing=sharing)
            shop.ledger.end_invocation(sweep_id, frontier.invocation, SweepStatus.FINISHED)
        shop.workshop = Workshop(checkpoints=shop.directory / "checkpoints", data_dir=None)
        return sweep_id

    return run


def keys(shop: Shop) -> set[Any]:
    """All checkpoints there are."""
    return set(shop.workshop.checkpoints.sizes())


def another_epoch_2(seed: int, epoch: int) -> jax.Array:
    """Randomness of which only later epochs differ."""
    return epoch_key(seed, epoch + 1000 * (epoch > 1))


@pytest.mark.slow
@pytest.mark.databases
def test_the_epochs_of_other_code_are_kept_if_it_computes_the_same_bits(
    shop: Shop, another_shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    spec = spec_of(seeds=[0])
    old = recorded(spec)
    distinct = {state.key for row in shop.ledger.trials(old) for state in shop.ledger.curve(row.head)}
    before, saved = shop.curves(old), len(keys(shop) & distinct)  # one more at the root, which is made anew
    (done,) = adopt(settings, "tiny", replays=4)
    assert (done.outcome, done.epochs, done.checkpoints, done.replayed) == ("adopted", len(distinct), saved, 4)
    assert len(keys(shop)) == 2 * saved + 1
    new, frontier = shop.run(spec)
    assert new != old
    assert frontier.take() is None
    assert shop.ledger.work(new).trained == 0
    assert shop.curves(new) == shop.curves(old) == before
    for sweep in (old, new):
        shop.ledger.verify(sweep)
    (said,) = shop.ledger.events_of(old, "adopted")
    assert (said.payload["from"], said.payload["replayed"], said.payload["epochs"]) == (["0" * 64], 4, len(distinct))

    longer = spec_of(seeds=[0], epochs=6, arms={"constant": spec.to_dict()["arms"]["constant"]})
    extended, _ = shop.run(longer)
    assert (shop.ledger.work(extended).trained, shop.ledger.work(extended).replayed) == (1, 0)
    alone, _ = another_shop.run(longer)
    assert shop.curves(extended) == another_shop.curves(alone)


def test_what_has_the_names_of_this_code_is_left_alone(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**FORKED))
    assert [one.outcome for one in adopt(settings, "tiny", replays=1)] == ["adopted"]
    assert [one.outcome for one in adopt(settings, "tiny", replays=1)] == ["nothing to adopt"]
    shop.run(spec_of(name="ours", **ONE))
    assert [one.outcome for one in adopt(settings, "ours", replays=1)] == ["nothing to adopt"]


def test_every_sweep_of_a_name_is_adopted_whichever_ran_last(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    old = recorded(spec_of(**ONE))
    new, _ = shop.run(spec_of(**ONE), most=2)
    found = {one.sweep_id: one for one in adopt(settings, "tiny", replays=1)}
    assert {key: one.outcome for key, one in found.items()} == {old: "adopted", new: "nothing to adopt"}
    assert found[old].epochs == 5 - 2
    assert [one.sweep_id for one in adopt(settings, old, replays=1)] == [old]


def test_nothing_is_kept_if_an_epoch_differs(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    other = recorded(spec_of(**FORKED), segments__epoch_key=another_epoch_2)
    before, saved = shop.curves(other), keys(shop)
    (done,) = adopt(settings, other, replays=1)
    assert (done.outcome, done.epochs, done.replayed) == ("differs", 0, 2)
    assert all(why.startswith("seed 0, epoch 3: ") and " was " in why for why in done.why)
    assert (shop.curves(other), keys(shop)) == (before, saved)
    assert not shop.ledger.events_of(other, "adopted")
    assert shop.frontier(spec_of(**FORKED))[1].take() is not None


def test_what_this_code_has_recorded_itself_must_agree(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    other = recorded(spec_of(**ONE), segments__epoch_key=another_epoch_2)
    shop.run(spec_of(**ONE), most=3)
    (done,) = adopt(settings, other, replays=1)
    assert (done.outcome, done.replayed) == ("differs", 0)
    assert {why.partition(":")[0] for why in done.why} == {"seed 0, epoch 2", "seed 0, epoch 3"}


def test_records_that_come_in_while_a_sweep_is_adopted_are_not_mixed(
    shop: Shop,
    settings: Settings,
    spec_of: Callable[..., SweepSpec],
    recorded: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = recorded(spec_of(**ONE), segments__epoch_key=another_epoch_2)

    def meanwhile(*given: Any) -> list[Any]:
        shop.run(spec_of(**ONE), most=3)
        return []

    monkeypatch.setattr(verb, "differing", meanwhile)
    with pytest.raises(LedgerError, match="^sweep 'tiny': its epochs were trained meanwhile; adopt it again$"):
        list(adopt(settings, other, replays=1))
    assert not shop.ledger.events_of(other, "adopted")


def refusal(settings: Settings) -> str:
    """Why the only sweep cannot be adopted."""
    (told,) = adopt(settings, None, replays=1)
    assert told.outcome == "not adoptable"
    return told.why[0]


def test_other_libraries_are_more_than_other_code(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**ONE), trajectory__numerics=lambda: NUMERICS() | {"flax": "0.0.1"})
    assert re.match(r"more than the code differs from when it was trained: flax: 0\.0\.1, ", refusal(settings))


def test_epochs_of_another_number_of_devices_are_not_adopted(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**ONE), trajectory__numerics=lambda: NUMERICS() | {"devices": "8"})
    assert refusal(settings) == "more than the code differs from when it was trained: devices: 8, 1"


def test_numerics_that_were_not_recorded_are_more_than_other_code(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    fewer = {name: value for name, value in NUMERICS().items() if name != "jaxlib"}
    recorded(spec_of(**ONE), trajectory__numerics=lambda: fewer)
    assert refusal(settings).endswith("trained: jaxlib is new")


def test_a_schedule_that_plans_otherwise_is_refused(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    def halved(self: Any, state: Any, epoch: int, examples: int, batch_size: int) -> EpochPlan:
        return PLAN(self, state, epoch, examples // 2, batch_size)

    recorded(spec_of(**ONE), constant__plan=halved)
    assert refusal(settings) == "trial 'c seed=0': its schedule now plans other epochs than were recorded"


def test_without_sharing_states_belong_to_their_sweep(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**ONE), sharing=False)
    (done,) = adopt(settings, "tiny", replays=1)
    assert done.outcome == "nothing to adopt" and "--no-sharing" in done.why[0]


def test_one_sweep_that_fails_does_not_stop_the_others(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    broken, good = recorded(spec_of(name="broken", **ONE)), recorded(spec_of(name="good", **FORKED))
    with closing(sqlite3.connect(shop.directory / "ledger.db")) as connection, connection:
        connection.execute("UPDATE trials SET epoch = 4 WHERE sweep_id = ?", [broken])
    found = {one.sweep_id: one for one in adopt(settings, None, replays=1)}
    assert (found[broken].outcome, found[good].outcome) == ("failed", "adopted")
    assert "does not match its digest" in found[broken].why[0]
    with pytest.raises(LedgerError, match="does not match its digest"):
        list(adopt(settings, "broken", replays=1))


def test_a_checkpoint_that_was_not_tried_is_not_kept(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**ONE))
    (key,) = keys(shop)
    (done,) = adopt(settings, "tiny", replays=9)
    assert (done.outcome, done.epochs, done.checkpoints, done.replayed) == ("adopted", 5, 0, 2)
    assert done.why == (verb.UNTRIED,)
    assert keys(shop) == {key}
    (done,) = adopt(settings, "tiny", replays=9)
    assert (done.outcome, done.why) == ("nothing to adopt", (verb.UNTRIED,))


def test_without_a_checkpoint_the_second_epoch_is_replayed_after_the_first(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**ONE), segments__epoch_key=another_epoch_2)
    (done,) = adopt(settings, "tiny", replays=1)
    assert (done.outcome, done.replayed) == ("differs", 2)
    assert all(why.startswith("seed 0, epoch 2: ") for why in done.why)


def test_a_damaged_checkpoint_is_neither_replayed_from_nor_kept(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    old = recorded(spec_of(**FORKED))
    last = shop.ledger.trials(old)[0].head
    (shop.directory / "checkpoints" / last[:2] / last / "state" / "more").touch()
    (done,) = adopt(settings, "tiny", replays=9)
    assert (done.outcome, done.epochs, done.checkpoints, done.replayed) == ("adopted", 4, 2, 3)


def test_a_checkpoint_of_another_structure_is_a_difference(
    shop: Shop,
    settings: Settings,
    spec_of: Callable[..., SweepSpec],
    recorded: Callable[..., str],
    tiny_program: Program,
) -> None:
    recorded(spec_of(**FORKED))
    ours, checkpoints = keys(shop), shop.workshop.checkpoints
    wider = to_dict(tiny_program) | {"model": {"kind": "small_cnn", "width": 5, "dropout": 0.1}}
    shop.run(spec_of(name="wide", program=wider, **FORKED))
    others = keys(shop) - ours
    for key in ours:
        checkpoints.discard(key)
        assert checkpoints.adopt(min(others), key)
    (done,) = adopt(settings, "tiny", replays=9)
    assert done.outcome == "differs"
    rule = "the checkpoint before it is damaged, or holds a state of another structure"
    assert set(done.why) == {f"seed 0, epoch 3: {rule}"}


def test_a_collection_keeps_adopted_checkpoints_for_the_sweep_to_come(
    shop: Shop, settings: Settings, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str]
) -> None:
    recorded(spec_of(**FORKED))
    (done,) = adopt(settings, "tiny", replays=1)
    assert len(keys(shop)) == 6
    gc.collect(settings, dry_run=False)
    assert len(keys(shop)) == 2 + done.checkpoints == 5, "the old sweep has no use for its fork"
    new, frontier = shop.run(spec_of(**FORKED))
    shop.ledger.end_invocation(new, frontier.invocation, SweepStatus.FINISHED)
    gc.collect(settings, dry_run=False)
    assert len(keys(shop)) == 2 + 2, "the last ones of both sweeps' trials"
    longer, _ = shop.run(spec_of(**FORKED | {"epochs": 4}))
    assert (shop.ledger.work(longer).trained, shop.ledger.work(longer).replayed) == (2, 0)


def test_what_a_program_raises_is_told_with_its_epoch(
    shop: Shop,
    settings: Settings,
    spec_of: Callable[..., SweepSpec],
    recorded: Callable[..., str],
    tiny_program: Program,
    tmp_path: Path,
) -> None:
    recorded(spec_of(program=to_dict(tiny_program) | {"data": {"kind": "digit_pairs", "train": 96, "test": 40}}, **ONE))
    (key,) = keys(shop)
    workshop = Workshop(checkpoints=tmp_path, data_dir=None)
    way = {"program": to_dict(tiny_program), "seed": 0, "epoch": 2, "plans": []}
    with pytest.raises(ReplayError, match="^seed 0, epoch 2: .*No such file"):
        replay_way(way | {"parent": key}, workshop)


@pytest.mark.slow
def test_the_command_adopts_and_says_so(
    shop: Shop,
    settings: Settings,
    spec_of: Callable[..., SweepSpec],
    recorded: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = recorded(spec_of(**FORKED))
    monkeypatch.setenv("ABEL_HOME", str(shop.directory))

    def said(*arguments: Any) -> tuple[Any, str]:
        done = CliRunner().invoke(app, ["adopt", *arguments])
        return done.exit_code, " ".join(done.output.split())

    file = shop.directory / "tiny.json"
    file.write_text(json.dumps(spec_of(**FORKED).to_dict()))
    planned = CliRunner().invoke(app, ["plan", str(file)]).output
    assert "000000000000; `abel adopt` keeps them if they are the same" in " ".join(planned.split())
    ended = "2 epochs trained again had the recorded bits."
    assert said("tiny", "--replays", "2") == (0, f"tiny ({old}): adopted 4 epochs and 3 checkpoints; {ended}")
    assert said("--all") == (0, f"tiny ({old}): nothing to adopt.")
    shop.run(spec_of(**FORKED))
    status = " ".join(CliRunner().invoke(app, ["status", "tiny"]).output.split())
    assert f"adopted 4 epochs that other code recorded in sweep {old}; {ended[:-1]}" in status
    code, printed = said("--all", "--json")
    assert (code, [one["outcome"] for one in json.loads(printed)]) == (0, ["nothing to adopt"] * 2)
    assert said("none") == (2, "error: sweep 'none': must be one that was run here (tiny)")
    for arguments in ([], ["tiny", "--all"]):
        code, printed = said(*arguments)
        assert code == 2 and "give either a SWEEP or --all" in printed


def test_the_command_shows_how_epochs_differ(
    shop: Shop, spec_of: Callable[..., SweepSpec], recorded: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = recorded(spec_of(**FORKED), segments__epoch_key=another_epoch_2)
    monkeypatch.setenv("ABEL_HOME", str(shop.directory))
    shown = CliRunner().invoke(app, ["adopt", "tiny"])
    assert shown.exit_code == 1
    lines = shown.stdout.splitlines()
    assert lines[0] == f"tiny ({old}): not adopted; with this code, epochs are not as recorded:"
    assert lines[1].startswith("  seed 0, epoch 3: ")
    assert re.fullmatch(r"  and \d+ more", lines[-1])

"""`abel adopt`: epochs that other code recorded, kept where this code computes the same bits and nowhere else."""

import json
import re

import pytest
from typer.testing import CliRunner

from abel.schedules import Constant
from services.cli.app import app
from services.errors import OperationError
from services.settings import Settings
from services.verbs.adopt import adopt
from workers import cohort, trajectory
from workers.config import to_dict
from workers.randomness import epoch_key
from workers.workshop import Workshop

ONE = {"seeds": [0], "arms": {"c": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}}
NUMERICS, PLAN = trajectory.numerics, Constant.plan


@pytest.fixture
def settings(shop):
    return Settings(home=shop.directory, ledger_url=shop.url, tracking_uri=f"sqlite:///{shop.directory}/mlflow.db")


@pytest.fixture
def recorded(shop, monkeypatch):
    """Run a sweep with other code: code that is named otherwise, and what is changed of it."""

    def run(spec, sharing=True, **changes):
        with monkeypatch.context() as other:
            other.setattr(trajectory, "code_digest", lambda program: "0" * 64)
            for place, value in changes.items():
                module, _, name = place.rpartition("__")
                other.setattr({"trajectory": trajectory, "cohort": cohort, "constant": Constant}[module], name, value)
            sweep_id, _ = shop.run(spec, sharing=sharing)
        shop.workshop = Workshop(checkpoints=shop.directory / "checkpoints", data_dir=None)
        return sweep_id

    return run


def keys(shop):
    """All checkpoints there are."""
    return shop.workshop.checkpoints.sizes().keys()


@pytest.mark.databases
def test_the_epochs_of_other_code_are_kept_if_it_computes_the_same_bits(
    shop, another_shop, settings, spec_of, recorded
):
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
    assert (said.payload["from"], said.payload["replayed"]) == (["0" * 64], 4)

    longer, _ = shop.run(spec_of(seeds=[0], epochs=6, arms={"constant": spec.to_dict()["arms"]["constant"]}))
    assert (shop.ledger.work(longer).trained, shop.ledger.work(longer).replayed) == (1, 0)
    alone, _ = another_shop.run(spec_of(seeds=[0], epochs=6, arms={"constant": spec.to_dict()["arms"]["constant"]}))
    assert shop.curves(longer) == another_shop.curves(alone)


def test_what_has_the_names_of_this_code_is_left_alone(shop, settings, spec_of, recorded):
    recorded(spec_of(**ONE))
    assert [one.outcome for one in adopt(settings, "tiny", replays=1)] == ["adopted"]
    assert [one.outcome for one in adopt(settings, "tiny", replays=1)] == ["nothing to adopt"]
    shop.run(spec_of(name="ours", **ONE))
    assert [one.outcome for one in adopt(settings, "ours", replays=1)] == ["nothing to adopt"]


def test_nothing_is_kept_if_an_epoch_differs(shop, settings, spec_of, recorded, monkeypatch):
    other = recorded(spec_of(seeds=[0]), cohort__epoch_key=lambda seed, epoch: epoch_key(seed, epoch + (epoch > 1)))
    before, saved = shop.curves(other), set(keys(shop))
    (done,) = adopt(settings, other, replays=6)
    assert (done.outcome, done.epochs, done.replayed) == ("differs", 0, 6)
    assert done.why[0].startswith("seed 0, epoch ") and " was " in done.why[0]
    assert not any(" epoch 1:" in why for why in done.why)
    assert (shop.curves(other), set(keys(shop))) == (before, saved)
    assert not shop.ledger.events_of(other, "adopted")
    assert shop.frontier(spec_of(seeds=[0]))[1].take() is not None
    monkeypatch.setenv("ABEL_HOME", str(shop.directory))
    shown = CliRunner().invoke(app, ["adopt", other, "--replays", "6"])
    assert shown.exit_code == 1
    assert "tiny: not adopted; of 6 epochs trained again, some differ:\n  seed 0, epoch " in shown.stdout
    assert f"  and {len(done.why) - 5} more\n" in shown.stdout


def refusal(settings, sweep):
    """Why a sweep cannot be adopted; with all sweeps, it is told and the others go on."""
    with pytest.raises(OperationError, match="^sweep 'tiny': cannot be adopted: ") as error:
        list(adopt(settings, sweep, replays=1))
    (told,) = adopt(settings, None, replays=1)
    assert told.outcome == "not adoptable"
    assert str(error.value).endswith(f"cannot be adopted: {told.why[0]}")
    return told.why[0]


def test_other_libraries_are_more_than_other_code(shop, settings, spec_of, recorded):
    other = recorded(spec_of(**ONE), trajectory__numerics=lambda: NUMERICS() | {"flax": "0.0.1"})
    assert re.match(r"more than the code differs from when it was trained: flax: 0\.0\.1, ", refusal(settings, other))


def test_a_schedule_that_plans_otherwise_is_refused(shop, settings, spec_of, recorded):
    def halved(self, state, epoch, examples, batch_size):
        return PLAN(self, state, epoch, examples // 2, batch_size)

    other = recorded(spec_of(**ONE), constant__plan=halved)
    assert refusal(settings, other) == "trial 'c seed=0': its schedule now plans other epochs than were recorded"


def test_without_sharing_states_belong_to_their_sweep(shop, settings, spec_of, recorded):
    assert "--no-sharing" in refusal(settings, recorded(spec_of(**ONE), sharing=False))


def test_a_damaged_checkpoint_is_neither_replayed_from_nor_kept(shop, settings, spec_of, recorded):
    recorded(spec_of(**ONE))
    (key,) = keys(shop)
    (shop.directory / "checkpoints" / key[:2] / key / "state" / "more").touch()
    (done,) = adopt(settings, "tiny", replays=9)
    assert (done.outcome, done.epochs, done.checkpoints, done.replayed) == ("adopted", 5, 0, 1)
    assert set(keys(shop)) == {key}


def test_a_checkpoint_of_another_structure_is_a_difference(shop, settings, spec_of, recorded, tiny_program):
    later = {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epoch": 2}
    forks = {"seeds": [0], "epochs": 3, "arms": ONE["arms"] | {"at": {"schedule": later}}}
    other = recorded(spec_of(**forks))
    ours, checkpoints = keys(shop), shop.workshop.checkpoints
    wider = to_dict(tiny_program) | {"model": {"kind": "small_cnn", "width": 5, "dropout": 0.1}}
    shop.run(spec_of(name="wide", program=wider, **forks))
    for key in ours:
        checkpoints.discard(key)
        assert checkpoints.adopt(next(iter(keys(shop) - ours)), key)
    (done,) = adopt(settings, other, replays=9)
    assert done.outcome == "differs"
    assert set(done.why) == {"seed 0, epoch 3: the checkpoint before it holds a state of another structure"}


def test_the_command_adopts_and_says_so(shop, settings, spec_of, recorded, monkeypatch):
    recorded(spec_of(**ONE))
    monkeypatch.setenv("ABEL_HOME", str(shop.directory))

    def said(*arguments):
        done = CliRunner().invoke(app, ["adopt", *arguments])
        return done.exit_code, " ".join(done.output.split())

    planned = CliRunner().invoke(app, ["plan", spec_file(shop, spec_of)]).output
    assert "000000000000; `abel adopt` keeps them if they are the same" in " ".join(planned.split())
    ended = "1 epoch trained again had the recorded bits."
    assert said("tiny") == (0, f"tiny: adopted 5 epochs and 1 checkpoint; {ended}")
    assert said("--all") == (0, "tiny: nothing to adopt; this code's records have the same names already.")
    code, printed = said("--all", "--json")
    assert (code, [one["outcome"] for one in json.loads(printed)]) == (0, ["nothing to adopt"])
    assert said("none") == (2, "error: sweep 'none': must be one that was run here (tiny)")
    for arguments in ([], ["tiny", "--all"]):
        code, printed = said(*arguments)
        assert code == 2 and "give either a SWEEP or --all" in printed


def spec_file(shop, spec_of):
    file = shop.directory / "tiny.json"
    file.write_text(json.dumps(spec_of(**ONE).to_dict()))
    return str(file)

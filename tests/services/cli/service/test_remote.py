"""The commands of the service without one: they work on the sweeps of this home, and print what they print of a service's."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import SPEC, Api, desk_over
from stories import Story
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.server import home
from services.settings import Settings
from sweeps.ledger.leases import SweepPaused
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.ledger.submissions.rows import Wanted


@pytest.fixture
def told(story: Story, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    """A sweep in this test's ABEL_HOME, which this process runs."""
    monkeypatch.setenv("COLUMNS", "200")
    settings = Settings.from_env().prepare()
    story.ledger, story.seeds, story.epochs, story.decays = Ledger.open(settings.ledger_url), 2, 12, (2,)
    yield story.begin().tell(upto=2)
    story.ledger.close()


@pytest.fixture
def api(told: Story, abel_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A service over that home; the commands know a token of its."""
    with desk_over(told.ledger, abel_home) as made:
        monkeypatch.setenv("ABEL_TOKEN", made.token("ada"))
        yield made


@pytest.fixture
def submitted(api: Api, told: Story) -> Callable[[], str]:
    """Submit the sweep, and let this process carry the submission out; its id."""

    def submit() -> str:
        id = api.submit(name=told.name)
        number = api.queue.count_launch(api.queue.submission(id), None)
        assert number is not None
        api.queue.take(id, number)
        api.queue.renew(id, number, sweep_id=told.sweep_id)
        return id

    return submit


def abel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def shown(result: Result, *ids: str) -> tuple[int, list[str]]:
    """What a command printed, words a line, with a mark for ids: a submission's are longer, which widens their column."""
    text = re.sub("|".join(ids), "ID", result.output)
    return result.exit_code, [" ".join(re.sub("[─━]+", "─", line).split()) for line in text.splitlines()]


def test_a_sweep_is_shown_as_a_submission_is(told: Story, api: Api, submitted: Callable[[], str]) -> None:
    running = abel("list")
    id = submitted()
    ids = (id, told.sweep_id)
    assert shown(running, *ids) == shown(abel("list", "--server", api.url), *ids)
    assert f"{told.name} ID running" in " ".join(shown(running, *ids)[1])
    told.tell().end()
    api.queue.release(id, 1, outcome="finished")
    for words in (["list"], ["watch", told.name], ["status", told.name]):
        here, there = (shown(abel(*words, *more), *ids) for more in ((), ("--server", api.url)))
        assert here == there
        assert here[0] == 0
    code, lines = shown(abel("watch", told.sweep_id), *ids)
    assert (code, lines[:2]) == (0, ["abel seed=0: minimum at 9", "abel seed=1: minimum at 9"])
    assert f"{told.name}: finished" in lines


def test_json_has_the_same_fields(told: Story, api: Api, submitted: Callable[[], str]) -> None:
    here = json.loads(abel("list", "--json").stdout)
    submitted()
    there = json.loads(abel("list", "--json", "--server", api.url).stdout)
    assert here[0].keys() == there[0].keys()
    for name in ("name", "phase", "sweep_id", "sweep", "best", "unit", "wanted"):
        assert here[0][name] == there[0][name], name


def test_watch_follows_another_process_to_its_end(
    told: Story, another_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LEFT_SECONDS", 0.0)
    told.end(SweepStatus.INTERRUPTED)
    left = abel("watch", told.name)
    assert (left.exit_code, f"{told.name}: interrupted" in left.stderr) == (130, True)
    other = another_process(Settings.from_env().ledger_url, told.sweep_id)
    assert abel("list").stdout.count("running") == 1
    other.process.kill()
    other.process.wait()
    lost = abel("watch", told.sweep_id)
    assert (lost.exit_code, f"{told.name}: stopped" in lost.stderr) == (1, True)


def test_a_running_sweep_is_paused_by_its_driver(told: Story, another_process: Callable[..., Any]) -> None:
    told.end(SweepStatus.INTERRUPTED)
    other = another_process(Settings.from_env().ledger_url, told.sweep_id)
    asked = abel("pause", told.name)
    assert (asked.exit_code, asked.output.split()) == (0, [told.name, told.sweep_id, "stopping"])
    assert told.ledger.is_paused(told.sweep_id)
    told.ledger.end_invocation(told.sweep_id, other.invocation, SweepStatus.NO_SPACE)
    assert abel("pause", told.name).output.split()[-1] == "paused"
    assert "abel resume" in abel("status", told.name).output
    with pytest.raises(SweepPaused, match=f"is paused; `abel resume {told.name}` goes on with it"):
        told.resume()


def test_a_finished_sweep_cannot_be_paused(told: Story) -> None:
    told.tell().end()
    assert abel("pause", told.name).output.split()[-1] == "finished"
    assert not told.ledger.is_paused(told.sweep_id)


def test_a_submitted_sweep_is_paused_and_resumed_at_its_service(
    told: Story, api: Api, submitted: Callable[[], str]
) -> None:
    id = submitted()
    assert abel("pause", told.name).output.split()[-1] == "stopping"
    assert api.queue.submission(id).wanted is Wanted.PAUSED
    assert abel("resume", told.name).stdout.split()[-1] == "running"
    assert api.queue.submission(id).wanted is Wanted.RUNNING
    done = [(entry.actor, entry.action, entry.target) for entry in api.tokens.audit(2)]
    assert done == [("console", "resume", id), ("console", "pause", id)]


def test_logs_are_what_the_driver_or_the_job_printed_last(
    told: Story, api: Api, submitted: Callable[[], str], abel_home: Path
) -> None:
    assert abel("logs", told.name).output == ""
    (abel_home / "logs" / f"driver-{told.sweep_id}.log").write_text("of the driver\n")
    assert abel("logs", told.name).output == "of the driver\n"
    log = abel_home / "logs" / f"submission-{submitted()}-1.log"
    log.write_text("of the job\n")
    assert abel("logs", told.name).output == "of the job\n"


def test_without_a_server_nothing_is_submitted(told: Story) -> None:
    done = abel("submit", "fig-s6a-digits")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("error: ") == 1
    for word in ("--server", "ABEL_SERVER", "abel run"):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("words", "told_of"),
    [
        (["watch", "nothing"], "must be one that was run here"),
        (["pause", "nothing"], "must be one that was run here"),
        (["logs", "nothing"], "must be one that was run here"),
        (["resume", "nothing"], "must be one that was run here"),
        (["extend", "nothing", "--epochs", "9"], "must be one that was run here"),
        (["extend", "nothing"], "give --seeds or --epochs"),
        (["extend", "nothing", "--epochs", "9", "--hours", "2"], "need --server"),
        (["resume", "nothing", "--workers", "2", "--server", "http://127.0.0.1:9"], "does not go with --server"),
        (["retry", "nothing", "--server", "http://127.0.0.1:9"], "works on this machine only: submit the spec again"),
        (["baseline", "save", "nothing", "--server", "http://127.0.0.1:9"], "use it where the service runs"),
        (["weights", "a", "b", "--to", "c", "--server", "http://127.0.0.1:9"], "use it where the service runs"),
        (["baseline", "power", "nothing", "--server", "http://127.0.0.1:9"], "use it where the service runs"),
    ],
)
def test_bad_input_is_one_error(told: Story, words: list[str], told_of: str) -> None:
    done = abel(*words)
    assert done.exit_code == 2
    assert told_of in " ".join(done.stderr.replace("│", " ").split())


def test_in_an_empty_home_there_is_nothing(abel_home: Path) -> None:
    assert abel("list").output.startswith("No sweeps were run here yet")
    assert "has none yet" in abel("watch", "nothing").stderr
    assert not abel_home.exists()


def test_extend_asks_the_service_with_its_options(told: Story, api: Api, submitted: Callable[[], str]) -> None:
    submitted()
    words: list[Any] = ["extend", told.name, "--seeds", "0,1,2", "--priority", "3", "--server", api.url, "--json"]
    one = json.loads(abel(*words).stdout)
    assert (one["priority"], api.queue.submission(one["id"]).spec["seeds"]) == (3, [0, 1, 2])
    assert api.queue.submission(one["id"]).spec["arms"] == SPEC["arms"]

"""What the loop of the service relies on, at every place for jobs: processes of this machine, Ray's Jobs API, RayJobs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kube_servers import NAMESPACE, kube_server
from ray_heads import TOKEN, ray_head
from waiting import wait_for

from services.server import jobs, reconciling
from services.server.jobs import JobPlace, JobState, LocalJobs
from services.server.kube.api import KubeApi
from services.server.kube.jobs import KubeRayJobs
from services.server.ray_jobs import RayJobs
from services.server.reconciling import Reconciler, phase_of
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Submission, Wanted

ID = "0123456789abcdef"
# Stands in for a job: it prints a line and ends on SIGTERM.
WAITS = "import signal, sys; signal.signal(15, lambda *_: sys.exit()); print('hello from', *sys.argv[1:], flush=True)"
SELECTS = {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": {"clusterSelector": {"ray.io/cluster": "abel"}}}


@dataclass
class Ground:
    """A place, and what makes its jobs run and end by themselves."""

    place: JobPlace
    begin: Callable[[str, int], None]
    end: Callable[[str, int], None]
    launched: Callable[[], list[str]]


def processes(tmp_path: Path, _: ExitStack) -> Iterator[Ground]:
    logs = tmp_path / "logs"
    logs.mkdir()
    place = LocalJobs(logs)

    def end(id: str, number: int) -> None:
        place._running[id, number].send_signal(signal.SIGKILL)
        place._running[id, number].wait()

    def begin(id: str, number: int) -> None:
        wait_for(lambda: "hello" in place.output(id, number))

    yield Ground(
        place, begin, end, lambda: sorted(file.stem.removeprefix("submission-") for file in logs.glob("*.log"))
    )
    for process in place._running.values():
        process.kill()
        process.wait()


def ray(tmp_path: Path, stack: ExitStack) -> Iterator[Ground]:
    head = stack.enter_context(ray_head())
    (file := tmp_path / "ray-token").write_text(TOKEN)

    def become(status: str) -> Callable[[str, int], None]:
        def change(id: str, number: int) -> None:
            head.jobs[f"{id}-{number}"]["status"] = status
            head.printed = f"hello from {id} {number}\n"

        return change

    yield Ground(RayJobs(head.url, file), become("RUNNING"), become("FAILED"), lambda: sorted(head.jobs))


def rayjobs(tmp_path: Path, stack: ExitStack) -> Iterator[Ground]:
    server = stack.enter_context(kube_server(tmp_path / "account"))

    def become(deployment: str, job: str) -> Callable[[str, int], None]:
        def change(id: str, number: int) -> None:
            server.operate(f"abel-{id}-{number}", deployment, job)
            server.logs[f"abel-{id}-{number}"] = f"hello from {id} {number}\n"

        return change

    yield Ground(
        KubeRayJobs(KubeApi(server.url, server.account), NAMESPACE, SELECTS),
        become("Running", "RUNNING"),
        become("Failed", "FAILED"),
        lambda: sorted(name.removeprefix("abel-") for name in server.rayjobs),
    )


@pytest.fixture(params=[processes, ray, rayjobs], ids=lambda one: one.__name__)
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setattr(jobs, "job_command", lambda id, number: ["-c", f"{WAITS}; signal.pause()", id, str(number)])
    with ExitStack() as stack:
        yield from request.param(tmp_path, stack)


@pytest.fixture
def one(queue: Submissions) -> Submission:
    return queue.submit("ada", "tiny", {"name": "tiny"}, {})[0]


@pytest.fixture
def loop(ledger: Ledger, ground: Ground) -> Reconciler:
    return Reconciler(ledger, ground.place)


def test_a_launch_happens_once_and_is_seen_until_it_ends(ground: Ground) -> None:
    assert ground.place.observe(ID, 1) in (JobState.UNKNOWN, JobState.FORGOTTEN)
    assert ground.place.output(ID, 1) == ""
    ground.place.stop(ID, 1)
    for number in (1, 1, 2):
        ground.place.launch(ID, number)
    assert ground.launched() == [f"{ID}-1", f"{ID}-2"]
    ground.begin(ID, 1)
    assert ground.place.observe(ID, 1) is JobState.ALIVE
    assert ground.place.output(ID, 1) == f"hello from {ID} 1\n"
    ground.end(ID, 1)
    assert ground.place.observe(ID, 1) is JobState.ENDED
    ground.begin(ID, 2)
    ground.place.stop(ID, 2)
    wait_for(lambda: ground.place.observe(ID, 2) is not JobState.ALIVE)


def test_the_loop_starts_what_is_wanted_once(
    ground: Ground, loop: Reconciler, queue: Submissions, one: Submission
) -> None:
    loop.tick()
    loop.tick()
    assert ground.launched() == [f"{one.id}-1"]
    queue.take(one.id, 1)
    loop.tick()
    assert phase_of(queue.submission(one.id)) is Phase.RUNNING
    assert ground.launched() == [f"{one.id}-1"]


def test_the_loop_follows_a_job_that_ended_before_it_took_its_submission(
    ground: Ground, loop: Reconciler, queue: Submissions, one: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.tick()
    ground.begin(one.id, 1)
    loop.tick()
    assert ground.launched() == [f"{one.id}-1"]
    ground.end(one.id, 1)
    now = reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 10_000)  # the pause after a start that came to nothing
    loop.tick()
    assert ground.launched() == [f"{one.id}-1", f"{one.id}-2"]


def test_a_job_that_is_too_slow_is_stopped_and_followed(
    ground: Ground, loop: Reconciler, queue: Submissions, one: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.tick()
    ground.begin(one.id, 1)
    now = reconciling.now_ms
    later = round(reconciling.SLOW_START_SECONDS * 1000) - 20_000
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + later)
    assert phase_of(queue.submission(one.id), ground.place.observe(one.id, 1)) is Phase.STARTING
    loop.tick()
    assert f"{one.id}-2" not in ground.launched()
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + later + 60_000)
    loop.tick()
    assert f"{one.id}-2" in ground.launched()
    wait_for(lambda: ground.place.observe(one.id, 1) is not JobState.ALIVE)


@pytest.mark.parametrize("ground", [rayjobs], indirect=True)  # jobs of the others begin at once
def test_a_job_that_lost_its_place_is_called_back_and_followed(
    ground: Callable[..., Any], loop: Reconciler, queue: Submissions, one: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.tick()
    queue.take(one.id, 1)
    queue.release(one.id, 1)
    now = reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 10_000)
    loop.tick()
    assert ground.launched() == [f"{one.id}-2"]


@pytest.mark.parametrize("ground", [rayjobs], indirect=True)
def test_a_job_that_waits_for_room_is_waited_for_and_called_back(
    ground: Callable[..., Any], loop: Reconciler, queue: Submissions, one: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.tick()
    now = reconciling.now_ms
    monkeypatch.setattr(reconciling, "now_ms", lambda: now() + 7 * 86_400_000)
    loop.tick()
    assert ground.launched() == [f"{one.id}-1"]
    assert phase_of(queue.submission(one.id), ground.place.observe(one.id, 1)) is Phase.STARTING
    queue.want(one.id, Wanted.CANCELLED)
    loop.tick()
    assert (ground.launched(), queue.submission(one.id).outcome) == ([], Phase.CANCELLED)

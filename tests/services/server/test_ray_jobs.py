"""Jobs on a Ray cluster, against a server that answers as the Jobs API of Ray's dashboard does, token and all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import Api, NoJobs, serving
from ray_heads import TOKEN, Head, ray_head
from stories import Story

from services.api.app import build
from services.errors import OperationError
from services.server.jobs import LOG_BYTES, JobsAway, JobState
from services.server.ray_jobs import RayJobs
from services.settings import Settings
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens

ID = "0123456789abcdef"


@pytest.fixture
def head() -> Iterator[Head]:
    with ray_head() as made:
        yield made


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
def place(head: Head, token_file: Path) -> RayJobs:
    return RayJobs(head.url + "/", token_file)


def test_a_launch_is_a_job_with_a_fixed_command(head: Head, place: RayJobs) -> None:
    place.launch(ID, 3)
    (job,) = head.jobs.values()
    assert job["submission_id"] == f"{ID}-3"
    assert job["entrypoint"] == f"python -P -m services.server.job {ID} 3"
    assert job["runtime_env"] == {"env_vars": {"ABEL_RAY_ADDRESS": "auto"}}


def test_nothing_of_an_id_reaches_the_shell(head: Head, place: RayJobs) -> None:
    place.launch("$(id);", 1)
    (job,) = head.jobs.values()
    assert job["entrypoint"] == "python -P -m services.server.job '$(id);' 1"


def test_a_second_launch_of_a_number_starts_nothing(head: Head, place: RayJobs) -> None:
    place.launch(ID, 1)
    place.launch(ID, 1)
    place.launch(ID, 2)
    assert [path for method, path in head.asked if method == "POST"] == ["/api/jobs/", "/api/jobs/"]
    assert list(head.jobs) == [f"{ID}-1", f"{ID}-2"]


def test_two_services_that_launch_at_once_start_one_job(
    head: Head, place: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = head.answer

    def late(method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            head.jobs[f"{ID}-1"] = {"status": "PENDING"}  # the other service was faster
        return answer(method, path, body)

    monkeypatch.setattr(head, "answer", late)
    place.launch(ID, 1)
    assert place.observe(ID, 1) is JobState.ALIVE


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING", JobState.ALIVE),
        ("RUNNING", JobState.ALIVE),
        ("STOPPED", JobState.ENDED),
        ("SUCCEEDED", JobState.ENDED),
        ("FAILED", JobState.ENDED),
    ],
)
def test_the_state_of_a_job(head: Head, place: RayJobs, status: str, state: JobState) -> None:
    head.jobs[f"{ID}-1"] = {"status": status}
    assert place.observe(ID, 1) is state


def test_a_head_that_was_replaced_knows_no_job(place: RayJobs) -> None:
    assert place.observe(ID, 1) is JobState.FORGOTTEN
    assert place.output(ID, 1) == ""
    place.stop(ID, 1)


def test_a_job_is_stopped_and_its_output_ends_with_the_last_lines(head: Head, place: RayJobs) -> None:
    place.launch(ID, 1)
    head.printed = "first\n" + "x" * LOG_BYTES + "last"
    place.stop(ID, 1)
    assert place.observe(ID, 1) is JobState.ENDED
    shown = place.output(ID, 1)
    assert shown.endswith("xlast") and len(shown) == LOG_BYTES


@pytest.mark.parametrize("line", ["reading its data", 'a "quoted" \\path\\n', "Ünïcode ☃ \x1b[31m"])
def test_of_a_long_log_the_end_is_kept(head: Head, place: RayJobs, line: str) -> None:
    place.launch(ID, 1)
    head.printed = "".join(f"{number} {line}\n" for number in range(120_000))
    shown = place.output(ID, 1)
    assert len(shown) == LOG_BYTES and head.printed.endswith(shown)


def test_a_log_that_is_none_is_refused_and_one_of_no_job_is_empty(head: Head, place: RayJobs) -> None:
    assert place.output(ID, 1) == ""
    head.broken, head.text = 200, "x" * (7 * LOG_BYTES)
    with pytest.raises(JobsAway, match="the log of the Ray head at .* cannot be read"):
        place.output(ID, 1)


def test_a_new_token_is_read_without_a_restart(place: RayJobs, token_file: Path) -> None:
    token_file.write_text("old")
    with pytest.raises(JobsAway, match=r"refuses the token in .*token \(403\)"):
        place.observe(ID, 1)
    token_file.write_text(TOKEN)
    assert place.observe(ID, 1) is JobState.FORGOTTEN


def test_without_a_token_the_head_refuses(head: Head) -> None:
    with pytest.raises(JobsAway, match=r"refuses the token in no file \(401\)"):
        RayJobs(head.url, None).launch(ID, 1)


def test_a_token_file_that_is_missing_is_named(place: RayJobs, token_file: Path) -> None:
    token_file.unlink()
    with pytest.raises(JobsAway, match=r"the Ray token in .*token cannot be read \(FileNotFoundError\)"):
        place.launch(ID, 1)


@pytest.mark.parametrize(("status", "shown"), [(500, "answers 500: RuntimeError: no agent"), (302, "answers 302")])
def test_a_head_that_fails_is_away(head: Head, place: RayJobs, status: int, shown: str) -> None:
    head.broken = status
    for act in (place.launch, place.observe, place.stop, place.output):
        with pytest.raises(JobsAway, match=shown):
            act(ID, 1)


def test_another_server_at_the_address_is_told(head: Head, place: RayJobs) -> None:
    head.broken, head.text = 200, "<html>"
    with pytest.raises(JobsAway, match="does not answer as Ray's Jobs API does"):
        place.observe(ID, 1)


def test_a_head_that_is_down_is_away(token_file: Path, free_port: Callable[[], int]) -> None:
    place = RayJobs(f"http://127.0.0.1:{free_port()}", token_file)
    with pytest.raises(JobsAway, match=r"http://127.0.0.1:\d+ does not answer \(ConnectionError\)"):
        place.launch(ID, 1)


@pytest.mark.parametrize(
    "url",
    ["ray-head:8265", "ray://head:10001", "http://", "http://me:pass@head:8265", "http://head:99999", "http://h?a=b"],
)
def test_a_url_that_is_no_dashboard_is_refused(url: str) -> None:
    with pytest.raises(OperationError, match="--ray-jobs: must be the address of a Ray dashboard") as error:
        RayJobs(url, None)
    assert "pass" not in str(error.value)


def test_the_service_says_that_the_cluster_is_away(head: Head, place: RayJobs, story: Story, tmp_path: Path) -> None:
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path)})
    with serving(build(settings, story.ledger, place)) as url:
        api = Api(url, story.ledger, Tokens.of(story.ledger), Submissions.of(story.ledger), NoJobs())
        one = api.submit()
        api.queue.count_launch(api.queue.submission(one), None)
        head.broken = 500
        log = api.ask("GET", f"/v1/sweeps/{one}/log")
        assert (log.status_code, log.headers["Retry-After"]) == (503, "5")
        assert "answers 500" in log.json()["detail"]

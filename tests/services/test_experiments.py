"""What people change in MLflow: a sweep and its trials are found by tags, whatever they are called there."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from stories import Story
from typer.testing import CliRunner

from services.cli.app import app
from services.settings import Settings
from services.tracking.runs import sweep_runs
from services.verbs.ui import ui


@pytest.fixture
def small(story: Story) -> Story:
    story.seeds, story.epochs, story.decays, story.layers = 1, 3, (2,), 1
    return story.begin().tell().end()


@pytest.fixture
def settings(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The story's ledger as the environment has it."""
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the files of an experiment that somebody else makes
    return Settings.from_env().prepare()


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    return MlflowClient(settings.tracking_uri)


def track(story: Story, *options: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["track", story.sweep_id, *options])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def home(client: MlflowClient, story: Story) -> Any:
    """The one experiment that holds the sweep's runs."""
    (found,) = {run.info.experiment_id for run in sweep_runs(client, story.sweep_id)}
    return client.get_experiment(found)


def names(client: MlflowClient) -> set[str]:
    return {found.name for found in client.search_experiments() if found.name != "Default"}


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "of an earlier version"])
def test_a_renamed_experiment_stays_the_sweeps(
    small: Story, settings: Settings, client: MlflowClient, everything: Any, marked: bool
) -> None:
    track(small)
    before, experiment = everything(settings.tracking_uri, small.sweep_id), home(client, small).experiment_id
    if not marked:
        client.delete_experiment_tag(experiment, "abel.sweep")
    client.rename_experiment(experiment, "my favourite")
    track(small, "--rebuild")
    assert names(client) == {"my favourite"}
    assert everything(settings.tracking_uri, small.sweep_id) == before
    assert f"/experiments/{experiment}/" in ui(settings, 5000, small.sweep_id).url
    assert client.get_experiment(experiment).tags["abel.sweep"] == small.name
    small.title = "the same sweep with other seeds"
    small.seeds = 2
    small.begin().tell().end()  # a second sweep of the name
    track(small)
    assert home(client, small).experiment_id == experiment


def test_a_renamed_experiment_that_lost_all_runs_is_filled_again(small: Story, client: MlflowClient) -> None:
    track(small)
    client.rename_experiment(home(client, small).experiment_id, "my favourite")
    for run in sweep_runs(client, small.sweep_id):
        client.delete_run(run.info.run_id)
    track(small, "--rebuild")
    assert home(client, small).name == "my favourite"
    assert names(client) == {"my favourite"}


def test_a_deleted_experiment_is_named_as_it_is_called_now(small: Story, client: MlflowClient) -> None:
    track(small)
    experiment = home(client, small).experiment_id
    client.rename_experiment(experiment, "my favourite")
    client.delete_experiment(experiment)
    said = track(small, "--rebuild", code=1)
    assert "experiment 'my favourite'" in said and f"restore --experiment-id {experiment}` restores it" in said
    assert names(client) == set()
    client.restore_experiment(experiment)
    track(small, "--rebuild")
    assert home(client, small).experiment_id == experiment


@pytest.mark.parametrize("deleted", [False, True])
def test_an_experiment_of_the_name_that_holds_other_work_is_left_alone(
    small: Story, client: MlflowClient, deleted: bool
) -> None:
    other = client.create_experiment(small.name, tags={"team": "vision"})
    client.create_run(other)
    if deleted:
        client.delete_experiment(other)
    track(small)
    assert home(client, small).name == f"{small.name} (abel)"
    assert client.get_experiment(other).tags == {"team": "vision"}
    track(small, "--rebuild")
    assert home(client, small).name == f"{small.name} (abel)"


def test_an_empty_experiment_of_the_name_is_used(small: Story, client: MlflowClient) -> None:
    made = client.create_experiment(small.name)
    track(small)
    assert home(client, small).experiment_id == made


def test_another_sweeps_experiment_is_not_taken_for_its_new_name(
    small: Story, story: Story, client: MlflowClient
) -> None:
    track(small)
    first = home(client, small).experiment_id
    client.rename_experiment(first, "another")
    story.name = "another"
    story.begin().tell().end()
    track(story)
    assert home(client, story).name == "another (abel)"


def test_a_run_that_people_renamed_keeps_its_new_name(small: Story, client: MlflowClient) -> None:
    track(small)
    for run in sweep_runs(client, small.sweep_id):
        client.update_run(run.info.run_id, name="the good one")
    track(small, "--rebuild")
    assert {run.info.run_name for run in sweep_runs(client, small.sweep_id)} == {"the good one"}


def test_edited_tags_are_restored(small: Story, settings: Settings, client: MlflowClient, everything: Any) -> None:
    track(small)
    before = everything(settings.tracking_uri, small.sweep_id)
    (run,) = [run for run in sweep_runs(client, small.sweep_id) if run.data.tags.get("abel.arm") == "decay-at"]
    edited = {"abel.seed": "first", "abel.number": "", "abel.settings": "decay 2", "abel.arm": ""}
    edited |= {"abel.epoch": "all", "abel.decay_epochs": "2, 77,x", "abel.trial": "mine", "abel.setting": "mine"}
    for tag, text in edited.items():
        client.set_tag(run.info.run_id, tag, text)
    track(small, "--rebuild")
    assert everything(settings.tracking_uri, small.sweep_id) == before

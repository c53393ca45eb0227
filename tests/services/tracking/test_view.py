"""Tests for `services/tracking/view.py`: the view in the store, and opened by a real browser from a real MLflow server."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from oracle import is_trial
from playwright.sync_api import Page, expect
from stories import Story

from services.tracking import view as views
from services.tracking.mirror import Mirror
from services.tracking.runs import comparison, sweep_runs
from services.tracking.store import Store
from sweeps.ledger.records import TrialRow

TAG_CHARACTERS = 20_000  # MLflow refuses an experiment's tag that is longer
BAND = "rgb(0, 0, 0)"  # the edge of the band around a mean, of no width
# Of every chart: the metric that it is of, and its lines as they are drawn, in pixels from its left and its lower edge.
CHARTS = """
() => [...document.querySelectorAll('.js-plotly-plot')].map(chart => ({
    kinds: [...new Set(chart.data.map(trace => trace.type))],
    texts: [...chart.querySelectorAll('.barlayer .bartext')].map(label => label.textContent),
    lines: [...chart.querySelectorAll('.scatterlayer .trace')].map(trace => trace.querySelector('path.js-line'))
        .filter(path => path && path.getAttribute('d'))
        .map(path => ({colour: path.style.stroke, d: path.getAttribute('d')})),
}))
"""


def project(story: Story, uri: str, tmp_path: Path, *, rebuild: bool = False) -> None:
    mirror = Mirror(story.ledger, story.sweep_id, Store(uri, tmp_path / "artifacts"), rebuild=rebuild)
    while mirror.step():
        pass


@pytest.fixture
def small(story: Story) -> Story:
    story.seeds, story.epochs, story.decays = 1, 4, (2,)
    return story.begin().tell().end()


def saved(uri: str, story: Story) -> dict[str, str]:
    tags = MlflowClient(uri).get_experiment_by_name(story.name).tags
    return {name: text for name, text in tags.items() if name.startswith(views.TAG)}


def test_a_view_is_what_mlflows_front_end_saves(small: Story) -> None:
    row, trials = small.ledger.sweep(small.sweep_id), small.ledger.trials(small.sweep_id)
    made = views.view(row, trials)
    assert made.tag == f"mlflow.sharedViewState.{made.key}"
    envelope = json.loads(made.text)
    assert envelope.keys() == {"name", "createdAt", "state"}
    assert envelope["createdAt"] == row.created_ms
    state = json.loads(envelope["state"])
    assert state["selectedColumns"][:3] == ["params.`arm`", "params.`schedule.decay_epoch`", "params.`seed`"]
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections
    assert views.view(row, trials[::-1]) == made


def state_of(story: Story, trials: Sequence[TrialRow]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.loads(views.view(story.ledger.sweep(story.sweep_id), trials).text)["state"])
    return found


def test_a_mean_is_over_the_seeds_of_a_setting_alone(story: Story, tracking_uri: str, tmp_path: Path) -> None:
    story.seeds, story.epochs, story.decays = 2, 4, (2, 3)
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    state = state_of(story, story.ledger.trials(story.sweep_id))
    (grouping,) = state["groupBy"]["groupByKeys"]
    assert grouping["mode"] == "tag"
    client = MlflowClient(tracking_uri)
    groups: dict[str, list[dict[str, str]]] = {}
    for run in sweep_runs(client, story.sweep_id):
        if is_trial(run):
            groups.setdefault(run.data.tags[grouping["groupByData"]], []).append(run.data.params)
    assert set(groups) == {"abel", "constant", "decay-at decay_epoch=2", "decay-at decay_epoch=3"}
    for members in groups.values():
        assert {member["seed"] for member in members} == {"0", "1"}
        assert len({json.dumps({**member, "seed": ""}, sort_keys=True) for member in members}) == 1


def test_a_mean_of_rates_is_shown_only_where_seeds_share_them(small: Story) -> None:
    trials = small.ledger.trials(small.sweep_id)

    def charts(of: Sequence[TrialRow]) -> list[str]:
        return [chart["metricKey"] for chart in state_of(small, of)["compareRunCharts"]]

    others = [trial for trial in trials if trial.schedule["kind"] != "abel"]
    second = [replace(trial, seed=1, name=trial.name.replace("seed=0", "seed=1")) for trial in trials]
    curves = ["test_error", "weight_norm_sq"]
    assert charts(trials) == charts(others + [trial for trial in second if trial.schedule["kind"] != "abel"])
    assert charts(trials) == [*curves, "learning_rate_first", "minimum_test_error"]
    assert charts([*trials, *second]) == [*curves, "final_test_error", "minimum_test_error"]
    assert "learning_rate_first" in charts([replace(trial, epochs=321) for trial in [*trials, *second]])  # no means


def test_a_line_is_a_mean_only_where_mlflow_takes_it_over_all_its_trials(small: Story) -> None:
    trials = small.ledger.trials(small.sweep_id)

    def lines(of: Sequence[TrialRow]) -> tuple[bool, bool, str]:
        state = state_of(small, of)
        return state["groupBy"] is not None, state["useGroupedValuesInCharts"], state["runsHiddenMode"]

    assert lines(trials) == (True, True, "SHOW_ALL")
    assert lines([*trials, replace(trials[0], epochs=321)]) == (True, False, "SHOW_ALL")
    assert lines([trials[0]] * 101) == (False, False, "FIRST_20_RUNS")
    settings = [replace(trials[0], name=f"decay-at decay_epoch={epoch} seed=0") for epoch in range(21)]
    assert lines(settings) == (True, True, "FIRST_20_RUNS")
    assert lines(settings[:20]) == (True, True, "SHOW_ALL")


def test_a_view_of_many_axes_fits_into_a_tag(small: Story) -> None:
    row, (trial, *_) = small.ledger.sweep(small.sweep_id), small.ledger.trials(small.sweep_id)
    axes = {f"program.optimizer.a_rather_long_name_{axis}": axis for axis in range(100)}
    name = " ".join(f"{label}={value}" for label, value in axes.items())
    wide = [replace(trial, settings=axes, name=f"{name} other={other} seed=0") for other in range(100)]
    assert len(views.view(row, wide).text) < TAG_CHARACTERS


def test_a_sweep_has_one_view_which_may_be_changed_in_mlflow(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    project(small, tracking_uri, tmp_path)
    ((tag, text),) = saved(tracking_uri, small).items()
    assert tag.endswith(f"abel-{small.sweep_id}")
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(small.name).experiment_id
    client.set_experiment_tag(experiment, tag, "changed")
    small.ledger.describe_sweep(
        small.sweep_id, dict(small.ledger.sweep(small.sweep_id).spec) | {"title": "Another title"}
    )
    project(small, tracking_uri, tmp_path)
    assert saved(tracking_uri, small) == {tag: "changed"}
    project(small, tracking_uri, tmp_path, rebuild=True)
    assert saved(tracking_uri, small) == {tag: text}


def test_the_ui_opens_on_the_view_and_without_it_on_the_same_runs(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    project(small, tracking_uri, tmp_path)
    assert comparison(tracking_uri, small.ledger.sweep(small.sweep_id)).endswith(
        f"&viewStateShareKey=abel-{small.sweep_id}"
    )
    client = MlflowClient(tracking_uri)
    client.delete_experiment_tag(
        client.get_experiment_by_name(small.name).experiment_id, views.TAG + views.key(small.sweep_id)
    )
    assert "viewStateShareKey" not in comparison(tracking_uri, small.ledger.sweep(small.sweep_id))


def points(drawn: str) -> list[tuple[float, float]]:
    """The corners of a line of an SVG, in pixels; the vertical one counts downwards."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", drawn)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def bounces(line: Sequence[tuple[float, float]]) -> bool:
    """Whether a line falls by a fifth of its height and more, and then rises by as much."""
    heights = [-y for _, y in line]
    low = heights.index(min(heights))
    enough = (max(heights) - min(heights)) / 5
    return max(heights[: low + 1]) - heights[low] > enough and max(heights[low:]) - heights[low] > enough


def means_by_setting(story: Story, result: Callable[[list[float]], float]) -> dict[str, float]:
    """The mean over seeds of what becomes of a setting's test errors, from the ledger."""
    found: dict[str, list[float]] = {}
    for row in story.ledger.trials(story.sweep_id):
        errors = [state.metrics["test_error"] for state in story.ledger.curve(row.head)]
        found.setdefault(row.name.partition(" seed=")[0], []).append(result(errors))
    return {setting: sum(errors) / len(errors) for setting, errors in found.items()}


@pytest.mark.slow
def test_a_browser_shows_the_settings_and_the_bounce_and_compares_runs(
    story: Story, server: MlflowServer, page: Page, tmp_path: Path
) -> None:
    story.seeds = 2
    story.begin().tell().end()
    project(story, server.url, tmp_path)
    page.goto(server.url + comparison(server.url, story.ledger.sweep(story.sweep_id)))
    expect(page.get_by_text(f"Sweep {story.sweep_id}")).to_be_visible()
    expect(page.get_by_text("Sort: minimum_test_error")).to_be_visible()
    expect(page.get_by_text("By setting: mean and range over seeds").first).to_be_visible()
    least = means_by_setting(story, lambda errors: min(errors))
    for index, (setting, _) in enumerate(sorted(least.items(), key=lambda item: item[1])):
        expect(page.locator(f".ag-row[row-index='{index}']").first).to_contain_text(f"Group: {setting}")
    for metric in ("test_error", "weight_norm_sq", "final_test_error", "minimum_test_error"):
        expect(page.get_by_text(metric, exact=True).first).to_be_attached()
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length >= 14")
    errors, norms, *bars = page.evaluate(CHARTS)
    assert [chart["kinds"] for chart in (errors, norms, *bars)] == [["scatter"]] * 2 + [["bar"]] * 2
    means = {line["colour"]: points(line["d"]) for line in norms["lines"] if line["colour"] != BAND}
    assert len(means) == 7
    assert sum(bounces(line) for line in means.values()) == 4  # decays at 1, 4 and 10 come before the rise
    assert not any(bounces(points(line["d"])) for line in errors["lines"] if line["colour"] != BAND)
    shown = [float(text) for text in bars[-1]["texts"]]
    assert shown[::-1] == pytest.approx(sorted(least.values()), abs=0.005)  # drawn from below: the best comes first

    for group in ("abel", "constant"):
        page.locator(f".ag-row span[title='{group}']").locator("xpath=../../*[@role='button']").first.click()
    for name in ("abel seed=0", "constant seed=1"):
        row = page.locator(".ag-row", has_text=name).first.get_attribute("row-index")
        page.locator(f".ag-row[row-index='{row}'] input[type=checkbox]").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    for name in ("abel seed=0", "constant seed=1"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()

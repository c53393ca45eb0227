"""The page in a browser: signing in, submitting with faults at their lines, a sweep live, by keyboard, on a narrow screen."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from desks import SPEC, Api, desk_over
from playwright.sync_api import Page, expect
from stories import Story

from services.server.curves import curves_of, tree_of
from services.server.showing import shown_sweep
from services.tracking.mirror import Mirror
from services.tracking.store import Store
from sweeps.ledger.records import TrialStatus

FAULTY = """name: x
program:
  task: classify
  model: {kind: vgg5}
  data: digits
  batch_size: 64
epochs: -1
seeds: [0]
arms:
  a:
    schedule: {kind: constnt}
"""


MLFLOW = "https://mlflow.example.org"


@pytest.fixture
def api(story: Story, tmp_path: Any, tracking_uri: str) -> Iterator[Api]:
    with desk_over(story.ledger, tmp_path, ABEL_MLFLOW_URL=MLFLOW, ABEL_TRACKING_URI=tracking_uri) as made:
        yield made


@pytest.fixture
def signed_in(api: Api, page: Page) -> Callable[..., Page]:
    """A page whose reader has typed a token."""

    def sign_in(width: int = 1100, token: str | None = None) -> Page:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(api.url)
        page.get_by_label("Token").fill(token or api.token("ada"))
        page.keyboard.press("Enter")
        return page

    return sign_in


@pytest.fixture
def running(api: Api, story: Story) -> str:
    """The id of a submission that this process carries out; its sweep is halfway."""
    story.begin().tell(upto=20)
    one, _ = api.queue.submit("ada", "fig-s6a-digits", {**story.ledger.sweeps()[-1].spec}, {})
    number = api.queue.count_launch(one, None)
    assert number is not None
    api.queue.take(one.id, number)
    api.queue.renew(one.id, number, sweep_id=story.sweep_id)
    return one.id


def test_a_sweep_is_followed_from_the_list_to_its_end(
    api: Api, signed_in: Callable[..., Page], story: Story, running: str
) -> None:
    page = signed_in()
    page.get_by_role("link", name="fig-s6a-digits").click()
    expect(page.locator("#phase")).to_have_text("running")
    expect(page.locator("#facts")).to_contain_text("of 21 done")
    expect(page.locator("#plots canvas")).to_have_count(4)
    expect(page.locator("#legend span")).to_have_count(7)
    page.get_by_label("contains").fill("constant")
    expect(page.locator("#legend span")).to_have_count(1)
    story.tell().end()
    api.queue.release(running, 1, outcome="finished")
    expect(page.locator("#phase")).to_have_text("finished")
    expect(page.locator("#events")).to_contain_text("abel seed=0: finished at epoch 40")
    expect(page.locator("#facts")).to_contain_text("840 of 840 recorded")
    expect(page.locator("#tree text", has_text="abel seed=1")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()


def test_a_sweep_and_its_trials_lead_to_mlflow_once_it_shows_them(
    api: Api, signed_in: Callable[..., Page], story: Story, running: str, tracking_uri: str, tmp_path: Path
) -> None:
    page = signed_in()
    page.get_by_role("link", name="fig-s6a-digits").click()
    page.get_by_text("Trials", exact=True).last.click()
    expect(page.locator("#trials tr")).to_have_count(21)
    expect(page.get_by_text("Compare in MLflow")).to_be_hidden()
    assert page.locator("#trials a").first.get_attribute("href") is None
    Mirror(story.ledger, story.sweep_id, Store(tracking_uri, tmp_path / "artifacts")).step()
    page.reload()
    expect(page.get_by_role("link", name="Compare in MLflow")).to_have_attribute("href", re.compile(f"^{MLFLOW}/#/"))
    page.get_by_text("Trials", exact=True).last.click()
    expect(page.locator("#trials a[href]").first).to_have_attribute(
        "href", re.compile(f"^{MLFLOW}/#/.*/runs/[0-9a-f]+$")
    )


def test_faults_show_at_their_lines_and_a_keyboard_submits(api: Api, signed_in: Callable[..., Page]) -> None:
    page = signed_in()
    page.get_by_role("link", name="Submit", exact=True).press("Enter")
    page.get_by_label("Spec, as YAML").fill(FAULTY)
    page.get_by_role("button", name="Validate").press("Enter")
    expect(page.locator("#verdict li")).to_have_count(2)
    page.get_by_role("button", name="line 7").press("Enter")
    chosen = "(() => { const a = document.activeElement; return a.value.slice(a.selectionStart, a.selectionEnd) })()"
    assert page.evaluate(chosen) == "epochs: -1"
    page.get_by_label("Spec, as YAML").fill(yaml_of(SPEC))
    page.get_by_role("button", name="Submit").press("Enter")
    expect(page.locator("#name")).to_have_text("tiny")
    expect(page.locator("#phase")).to_have_text("queued")
    page.get_by_role("button", name="Pause").press("Enter")
    expect(page.locator("#phase")).to_have_text("paused")
    assert [one.wanted for one in api.queue.open_ones()] == ["paused"]


def test_a_wrong_token_is_told_and_not_kept(signed_in: Callable[..., Page]) -> None:
    page = signed_in(token="abel_wrong")
    expect(page.get_by_role("alert")).to_contain_text("Authorization: must be")
    assert page.evaluate("sessionStorage.getItem('token')") is None


def test_on_a_narrow_screen_nothing_sticks_out(signed_in: Callable[..., Page], running: str) -> None:
    page = signed_in(400)
    page.get_by_role("link", name="fig-s6a-digits").click()
    expect(page.locator("#tree svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_page_needs_nothing_from_elsewhere_and_may_not_be_framed(api: Api) -> None:
    for path in ("/", "/static/page.js", "/static/draw.js", "/static/page.css"):
        answer = requests.get(api.url + path, timeout=10)
        assert answer.status_code == 200
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), path
    assert requests.get(f"{api.url}/static/..%2fapp.py", timeout=10).status_code == 404


def test_curves_and_tree_say_what_the_ledger_has(story: Story) -> None:
    story.begin().tell().end()
    sweep = story.ledger.sweeps()[-1]
    curves, tree = curves_of(story.ledger, sweep, 3), tree_of(story.ledger, sweep)
    assert (len(curves.settings), curves.settings_in_all) == (3, 7)
    assert [one.best for one in curves.settings] == sorted(one.best for one in curves.settings)
    best = curves.settings[0].metrics[curves.error]
    assert all(low <= mean <= high for low, mean, high in zip(best.low, best.mean, best.high, strict=True))
    distinct = {state.key for trial in story.ledger.trials(sweep.id) for state in story.ledger.curve(trial.head)}
    assert sum(one.last - one.first + 1 for one in tree) == len(distinct)
    assert sorted(name for one in tree for name in one.ends) == sorted(t.name for t in story.ledger.trials(sweep.id))
    assert all(one.parent is None or tree[one.parent].last + 1 == one.first for one in tree)


def test_what_a_trial_reached_before_it_diverged_is_neither_the_best_setting_nor_the_best_error(story: Story) -> None:
    story.diverging, story.epochs, story.decays = True, 12, (2,)
    story.begin().tell(only=lambda name: not name.startswith("abel")).end()
    sweep = story.ledger.sweep(story.sweep_id)
    constant = [trial for trial in story.ledger.trials(sweep.id) if trial.arm == "constant"]
    diverged, *sound = (min(one.metrics["test_error"] for one in story.ledger.curve(trial.head)) for trial in constant)
    assert constant[0].status is TrialStatus.DIVERGED and diverged < min(sound)
    first, *others = curves_of(story.ledger, sweep, 10).settings
    assert first.arm == "decay-at" and first.best is not None
    assert [(one.arm, one.best) for one in others] == [("constant", None), ("abel", None)]
    assert shown_sweep(story.ledger, sweep).best == min(sound)


def test_a_list_is_asked_for_again_while_the_service_is_away(
    api: Api, signed_in: Callable[..., Page], running: str
) -> None:
    page = signed_in()
    expect(page.get_by_role("link", name="fig-s6a-digits")).to_be_visible()
    page.route("**/v1/sweeps?*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("trying again")
    page.unroute("**/v1/sweeps?*")
    expect(page.get_by_role("alert")).to_be_hidden()


def yaml_of(spec: Any) -> str:
    """A spec as text: JSON is YAML."""
    return json.dumps(spec)

"""Tests for `services/report/report.py`, `findings.py` and `page.py`, on a real ledger; of links to runs, on an MLflow store."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import stories
from matplotlib.layout_engine import ConstrainedLayoutEngine
from playwright.sync_api import Page
from sentences import absent
from stories import Story
from typer.testing import CliRunner

from services.cli.app import app
from services.errors import OperationError
from services.report import sections, themes
from services.report.export import export
from services.report.report import Report, write_report
from services.settings import Settings
from services.tracking.mirror import Mirror
from services.tracking.runs import places
from services.tracking.store import Store
from services.verbs import report as reporting
from sweeps.ledger.database import LedgerError
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.results.frames import Frames
from sweeps.results.load import load
from sweeps.spec.measures import MEASURES
from sweeps.spec.programs import program_from_dict
from workers.config import to_dict

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, tracking_uri: str) -> Settings:
    return Settings(home=tmp_path, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}", tracking_uri=tracking_uri)


def project(story: Story, settings: Settings) -> None:
    """Show the sweep in the tracking store, which the verb's links lead to and `write_report` does not read."""
    mirror = Mirror(story.ledger, story.sweep_id, Store(settings.tracking_uri, settings.artifacts))
    while mirror.step():
        pass


class Balanced(HTMLParser):
    """Checks that tags close in order and gathers what a browser would fetch."""

    EMPTY = frozenset({"meta", "img", "source", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "srcset") or (tag, name) == ("link", "href")
        ]
        self.links += [value or "" for name, value in attrs if (tag, name) == ("a", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched and all(address.startswith("data:image/svg+xml;base64,") for address in parser.fetched)
    assert text.count("<script") == 1 and "<script>" in text and "url(" not in text and "@import" not in text
    return re.sub(r"data:[^\"]+", "", text)


def test_a_figure_is_laid_out_once_for_both_themes_and_its_file(
    story: Story, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out, execute = [], ConstrainedLayoutEngine.execute
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *given: laid_out.append(execute(*given)))
    story.begin().tell().end()
    written = write_report(settings, ["fig-s6a-digits"])
    pictures = written.files[0].read_text(encoding="utf-8").count("<picture>")
    assert len(laid_out) == pictures + 1  # the main figure's file has a title; on the page that is a heading


@dataclass(frozen=True)
class Reported:
    """A finished sweep and its report, with the numbers as CSV."""

    story: Story
    settings: Settings
    written: Report
    page: str

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.settings.reports / self.story.name


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    """Written once: no test changes it."""
    home = tmp_path_factory.mktemp("reported")
    settings = Settings(home=home, ledger_url=f"sqlite:///{home}/ledger.db", tracking_uri=f"sqlite:///{home}/none.db")
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        story = Story(ledger).begin().tell().end()
        written = write_report(settings, [story.name], kind="csv")
        yield Reported(story, settings, written, read(written.files[0]))


def test_a_report_is_a_page_and_its_figures(reported: Reported) -> None:
    names = ("index.html", "decay_time.png", "axes.png", "trials.png", "bounces.png")
    files = [file for file in reported.written.files if file.suffix != ".csv"]
    assert files == [reported.folder / name for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[1:])


def test_the_findings_say_what_the_sweep_showed(reported: Reported) -> None:
    cost, others, bounce, abel, spread = reported.written.findings
    assert absent(cost, "after epoch 1", "after epoch 30", "ABEL's own", "paired over 3 seeds") == []
    assert absent(others, "epoch 30", "other epochs", "+") == []
    assert absent(bounce, "to its minimum", "after epoch 8") == []
    assert absent(abel, "ABEL decays by itself", "24, 25, 26 (by seed)") == []
    assert absent(spread, "decay-at: over its 5 settings", "minimum test error") == []


def test_the_page_shows_every_trial_and_what_it_took(reported: Reported) -> None:
    text = reported.page
    assert "24 (bounce), 34 (last)" in text
    assert "epochs saved" in text and "time in training" in text
    assert "<dt>jax</dt><dd>0.10.2</dd>" in text
    assert text.count('<tr class="finished">') == 21
    assert 'class="banner"' not in text


def test_a_number_has_one_interval_wherever_it_is_shown(reported: Reported) -> None:
    (cost,) = re.findall(r"by (\+[\d.]+ \(.*?\)) points", reported.written.findings[0])
    assert f"<b>{cost}</b>" in reported.page
    assert f": {cost} points</td>" in reported.page
    measures = pd.read_csv(reported.folder / "measures.csv").set_index(["arm", "measure"])
    abel = measures.loc[("abel", "best")]
    shown = f"{abel['value']:.1f} % ({abel['low']:.1f} to {abel['high']:.1f})"
    assert reported.page.replace("\u00a0", " ").count(shown) >= 3, "tile, finding and table of arms"


@pytest.mark.parametrize("guessing", [99.0, None])
def test_finished_results_are_read_without_their_plug_in(
    story: Story,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    uninstall: Callable[[], None],
    guessing: float | None,
) -> None:
    story.diverging, story.guessing = True, guessing
    story.spec = {"program": {}, "epochs": 40, "arms": dict.fromkeys(("decay-at", "constant", "abel"), {})}
    story.spec |= {"check": {"margins": {"mean": 5}}}
    story.begin().tell().end()
    uninstall()
    project(story, settings)
    monkeypatch.setenv("ABEL_HOME", str(settings.home))
    for command in (("status", story.name), ("gc", "--dry-run"), ("report", story.name)):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, done.exception) == (0, None), done.output
    saved = CliRunner().invoke(app, ["baseline", "save", story.name])
    said = " ".join(done.output.split())
    if guessing is None:
        assert saved.exit_code == 2 and "a trial diverged and counts as guessing" in " ".join(saved.stderr.split())
        assert "constant has no measures: a trial diverged" in said and "It is left out" in said
        return
    (settings.home / "baseline.json").write_text(saved.stdout)
    checked = CliRunner().invoke(app, ["check", story.name, "--baseline", str(settings.home / "baseline.json")])
    assert (saved.exit_code, checked.exit_code) == (0, 0), checked.output
    assert "It counts as guessing, 99 % test error" in said


def test_diverged_trials_are_in_sight_and_count_as_guessing(story: Story, settings: Settings) -> None:
    story.diverging = True
    story.begin().tell().end()
    written = write_report(settings, [story.sweep_id])
    (said,) = [sentence for sentence in written.findings if "diverged" in sentence]
    assert absent(said, "1 trial diverged", "constant seed=0", "guessing", "99 % test error") == []
    text = read(written.files[0])
    assert text.count('<tr class="diverged">') == 1
    assert "12 of 40" in text


def test_an_unfinished_sweep_is_said_and_shown_as_far_as_it_is(
    story: Story, settings: Settings, tmp_path: Path
) -> None:
    story.epochs = 36
    story.begin().tell(upto=4)
    story.tell(only=lambda name: name.startswith("decay-at")).end(SweepStatus.INTERRUPTED)
    write_report(settings, [story.sweep_id], tmp_path / "out")
    text = read(tmp_path / "out" / "index.html")
    assert "The sweep is interrupted: 15 of its 21 trials have ended." in text
    assert text.count('class="banner"') == 1
    assert (tmp_path / "out" / "decay_time.png").exists()


def test_other_sweeps_get_the_general_parts(story: Story, settings: Settings) -> None:
    story.seeds, story.decays = 1, ()
    story.begin().tell().end()
    written = write_report(settings, [story.sweep_id])
    assert [path.name for path in written.files] == ["index.html", "trials.png", "bounces.png"]
    assert written.findings[0].startswith("There is no figure decay_time: it needs finished trials of one decay_at arm")
    text = read(written.files[0])
    assert [heading in text for heading in ("Weight norm", "Learning rate", "Arms", "Trials")] == [True] * 4


def test_what_comes_from_a_spec_is_escaped(story: Story, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    story.seeds, story.decays = 1, ()
    monkeypatch.setattr(story, "title", "<b>$title</b> & more")
    story.begin().tell().end()
    assert "<h1>&lt;b&gt;$title&lt;/b&gt; &amp; more</h1>" in read(write_report(settings, [story.sweep_id]).files[0])


def test_what_is_not_there_is_an_error(story: Story, settings: Settings) -> None:
    with pytest.raises(LedgerError, match="sweep 'fig-s6a': must be one that was run here"):
        write_report(settings, ["fig-s6a"])
    story.begin()
    with pytest.raises(OperationError, match="must have a recorded epoch to be shown, got none yet"):
        write_report(settings, [story.sweep_id])


def test_a_trials_number_leads_to_its_run(story: Story, settings: Settings) -> None:
    story.seeds, story.epochs, story.decays = 1, 4, (1, 2)
    story.begin().tell().end()
    project(story, settings)
    parser = Balanced()
    parser.feed(reporting.report(settings, [story.sweep_id], None).files[0].read_text(encoding="utf-8"))
    found = places(settings.tracking_uri, story.sweep_id)
    ordered = [found[trial.id] for trial in story.ledger.trials(story.sweep_id)]
    assert parser.links == [f"http://127.0.0.1:5000{place}" for place in ordered]
    elsewhere = Balanced()
    written = reporting.report(settings, [story.sweep_id], None, ui_url="https://lab.example:8443/mlflow/")
    elsewhere.feed(written.files[0].read_text(encoding="utf-8"))
    assert elsewhere.links == [f"https://lab.example:8443/mlflow{place}" for place in ordered]


@pytest.mark.parametrize("address", ["lab:5001", "ftp://lab", "http://", "http://lab:port", "javascript:alert(1)"])
def test_an_address_that_no_link_can_begin_with_is_bad_input(address: str) -> None:
    done = CliRunner().invoke(app, ["report", "any", "--ui-url", address])
    assert done.exit_code == 2
    assert "must be an http:// or https:// URL with a host" in " ".join(done.output.replace("│", " ").split())


def test_an_exported_table_is_taken_back_by_a_spec(reported: Reported) -> None:
    """A grid's value is 30, not 30.0, though other arms have no such setting."""
    text = pd.read_csv(reported.folder / "trials.csv", dtype=str)["schedule.decay_epoch"]
    assert set(text.dropna()) == {"1", "4", "10", "20", "30"}


@pytest.mark.parametrize(("kind", "read_table"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_the_numbers_are_exported(
    reported: Reported, tmp_path: Path, kind: str, read_table: Callable[[Path], pd.DataFrame]
) -> None:
    ledger, sweep_id = reported.story.ledger, reported.story.sweep_id
    frames = load(ledger, ledger.sweep(sweep_id))
    written = reported.written
    if kind != "csv":
        written = write_report(reported.settings, [sweep_id], tmp_path / "out", kind=kind)
    tables = {path.stem: read_table(path) for path in written.files if path.suffix == f".{kind}"}
    assert list(tables) == ["trials", "curves", "measures"]
    assert list(tables["trials"]["minimum_error"]) == list(frames.trials["minimum_error"])
    assert sorted(tables["trials"]["schedule.decay_epoch"].dropna().unique()) == [1, 4, 10, 20, 30]
    assert "24 34" in set(tables["trials"]["decay_epochs"])
    assert len(tables["curves"]) == 21 * 40
    trial = frames.trials["trial_id"][0]
    curve = tables["curves"][tables["curves"]["trial_id"] == trial].set_index("epoch")["test_error"]
    assert list(curve) == list(frames.curve("test_error")[trial])
    assert set(tables["measures"]["measure"]) == set(MEASURES)


def test_several_sweeps_stand_in_one_report(story: Story, settings: Settings) -> None:
    story.begin().tell().end()
    story.name, story.decays = "other", (2, 7)
    story.begin().tell().end()
    written = write_report(settings, ["fig-s6a-digits", "other"])
    assert written.files[0].parent.name == "fig-s6a-digits+other"
    assert {path.name for path in written.files} >= {"fig-s6a-digits-decay_time.png", "other-decay_time.png"}
    text = read(written.files[0])
    assert '<th class="number">fig-s6a-digits: decay-at</th>' in text and "other: decay-at" in text
    assert text.count('<tr class="finished">') == 21 + 12
    assert any(sentence.startswith("other: decay-at: over its 2 settings") for sentence in written.findings)
    assert not any("the smallest spread" in sentence for sentence in written.findings)  # their grids differ


def test_sweeps_of_one_name_are_told_apart(story: Story, settings: Settings) -> None:
    for decays in ((2, 7), (2, 9)):
        story.decays = decays
        story.begin().tell().end()
    old, new = (row.id for row in story.ledger.sweeps())
    written = write_report(settings, [old, new])
    names = {path.name for path in written.files}
    assert {f"fig-s6a-digits-{sweep[:6]}-decay_time.png" for sweep in (old, new)} <= names
    assert any(sentence.startswith(f"fig-s6a-digits {old[:6]}: ") for sentence in written.findings)
    assert write_report(settings, [new]).files[0].parent.name == "fig-s6a-digits"
    assert write_report(settings, [old]).files[0].parent.name == f"fig-s6a-digits-{old[:6]}"


def test_sweeps_of_other_programs_are_not_compared(
    story: Story, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.begin().tell().end()
    story.name = "other"
    monkeypatch.setattr(story, "spec", {"program": {"l2": 0.02}})
    story.begin().tell().end()
    with pytest.raises(
        OperationError, match=r"must train the same program .*, got l2: None and 0\.02; run `abel report` for each"
    ):
        write_report(settings, ["fig-s6a-digits", "other"])


def test_sweeps_whose_arms_have_other_data_are_not_compared(
    story: Story, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.begin().tell().end()
    story.name = "other"
    program = {**stories.PROGRAM, "data": {"kind": "digits"}}
    monkeypatch.setattr(stories, "PROGRAM", program)
    monkeypatch.setattr(
        stories, "IDENTITY", replace(stories.IDENTITY, program=to_dict(program_from_dict(program)), data="e" * 64)
    )
    story.begin().tell().end()
    with pytest.raises(
        OperationError, match=r'must train the same program .*, got data: .*"digit_pairs".* and .*"digits"'
    ):
        write_report(settings, ["fig-s6a-digits", "other"])


def test_what_has_no_epoch_yet_is_not_shown(story: Story, settings: Settings) -> None:
    story.begin()
    with pytest.raises(OperationError, match="must have a recorded epoch to be shown, got none yet"):
        write_report(settings, [story.sweep_id])
    assert not settings.reports.exists()


def test_one_seed_has_no_intervals_and_says_why(story: Story, settings: Settings) -> None:
    story.seeds = 1
    story.begin().tell().end()
    text = read(write_report(settings, [story.sweep_id]).files[0])
    assert absent(text, "With one seed", "no intervals", "at least two") == []


def test_an_arm_that_lacks_trials_has_no_measures(story: Story, settings: Settings) -> None:
    story.begin().tell(only=lambda name: name != "decay-at decay_epoch=4 seed=1").end(SweepStatus.INTERRUPTED)
    written = write_report(settings, [story.sweep_id])
    (lacking,) = [sentence for sentence in written.findings if "no measures" in sentence]
    assert absent(lacking, "decay-at has no measures", "1 of 15", "decay_epoch=4 seed=1 (waiting)", "`abel run`") == []


def test_a_sweep_without_any_measure_is_shown_and_exported(story: Story, settings: Settings) -> None:
    story.seeds = 1
    story.begin().tell(upto=3).end(SweepStatus.INTERRUPTED)
    written = write_report(settings, [story.sweep_id], kind="csv")
    assert {"trials.csv", "curves.csv", "measures.csv", "index.html"} <= {path.name for path in written.files}
    (table,) = [path for path in written.files if path.name == "measures.csv"]
    assert table.read_text() == "sweep,arm,kind,error,measure,value,low,high\n"


def test_a_sweep_that_all_diverged_is_shown_without_the_guessing_error(
    story: Story, settings: Settings, uninstall: Callable[[], None]
) -> None:
    story.diverging, story.guessing = True, None
    story.begin().tell(only=lambda name: name == "constant seed=0")
    lost = {
        row.id: (TrialStatus.FAILED, "Boom: no") for row in story.ledger.trials(story.sweep_id) if row.arm == "abel"
    }
    ended = [{"trial": name, "status": status, "epoch": None, "error": why} for name, (status, why) in lost.items()]
    batch = Batch(ended=lost, events=[("trial_ended", one) for one in ended])
    story.ledger.commit(story.sweep_id, story.invocation, batch)
    story.end(SweepStatus.INTERRUPTED)
    found = {path.name for path in write_report(settings, [story.sweep_id]).files}
    uninstall()  # its data do not say it any more, even to a process that has asked them
    written = write_report(settings, [story.sweep_id])
    assert "trials.png" in found - {path.name for path in written.files}
    assert any("1 trial diverged" in sentence for sentence in written.findings)


def test_settings_of_several_kinds_are_exported_as_text(story: Story, settings: Settings, tmp_path: Path) -> None:
    story.seeds = 1
    story.begin().tell().end()
    frames = load(story.ledger, story.ledger.sweep(story.sweep_id))
    frames.trials.at[0, "settings"] = {"program.augment": "none"}
    frames.trials.at[1, "settings"] = {"program.augment": 2}
    export(frames, [], tmp_path, "parquet")
    assert list(pd.read_parquet(tmp_path / "trials.parquet")["program.augment"][:2]) == ["none", "2"]


def frames_of(rows: Sequence[Mapping[str, Any]]) -> Frames:
    """Trials of which only some columns matter."""
    errors = {"minimum_error": 20.0, "final_error": 30.0, "selected_error": 30.0}
    others = {"name": "a", "seed": 0, "epoch": 1, "epochs": 1, "error": "", "decay_epochs": (), **errors}
    return Frames(trials=pd.DataFrame([others | row for row in rows]), curves=pd.DataFrame())


def test_the_best_setting_is_one_whose_seeds_all_finished() -> None:
    rows = [
        {"arm": "a", "kind": "constant", "settings": {"x": x}, "outcome": outcome, "minimum_error": error}
        for x, outcome, error in (
            (1, "finished", 15.0),
            (1, "diverged", 12.0),
            (2, "finished", 20.0),
            (2, "finished", 21.0),
        )
    ]
    text = sections.arms_section(frames_of(rows))
    assert "x 2" in text and "x 1" not in text
    assert "20.5 % (14.9 to 27.6)" in " ".join(text.split())


def test_outcomes_of_every_kind_are_counted_by_arm() -> None:
    outcomes = ("finished", "finished", "diverged", "failed", "cancelled", "stopped", "stopped")
    rows = [{"arm": "a", "kind": "constant", "settings": {}, "outcome": outcome} for outcome in outcomes]
    text = sections.arms_section(frames_of(rows))
    heads, cells = (re.findall(rf"<{tag}[^>]*>([^<]*)</{tag}>", text) for tag in ("th", "td"))
    seen = dict(zip(heads, cells, strict=True))
    assert {name: int(seen[name]) for name in set(outcomes)} == Counter(outcomes)


def test_the_data_of_an_older_sweep_tell_which_arm_is_near_chance(story: Story, settings: Settings) -> None:
    story.seeds, story.epochs, story.decays, story.hopeless, story.guessing = 2, 3, (), True, None
    story.begin().tell().end()
    said = write_report(settings, [story.sweep_id]).findings
    assert [one for one in said if one.startswith("abel is near chance") and "guessing has 99 %" in one]


def test_a_report_needs_no_tracking_store(story: Story, settings: Settings) -> None:
    story.seeds, story.epochs, story.decays = 1, 4, ()
    story.begin().tell().end()
    untracked = replace(settings, tracking_uri=f"sqlite:///{settings.home / 'none.db'}")
    written = reporting.report(untracked, [story.name], None)
    assert written.note is None
    assert "MLflow does not have these trials" in read(written.files[0])
    away = replace(settings, tracking_uri="http://127.0.0.1:9")
    written = reporting.report(away, [story.name], None)
    assert written.note is not None and "no links to MLflow" in written.note
    assert read(written.files[0]).count("finished") > 1


def test_what_cannot_be_put_on_the_sweep_s_run_is_told(story: Story, settings: Settings) -> None:
    story.seeds, story.epochs, story.decays = 1, 4, ()
    story.begin().tell().end()
    project(story, settings)
    shutil.rmtree(settings.artifacts)
    settings.artifacts.write_text("no folder")
    note = reporting.report(settings, [story.name], settings.home / "out").note
    assert note is not None and "The files are not attached to the sweep's MLflow run" in note


def test_a_title_is_no_formula() -> None:
    assert themes.png(themes.blank(r"Costs $\fo$ little", (6, 3))).startswith(b"\x89PNG")


def test_a_browser_sorts_the_trials_and_prints_the_light_page(story: Story, settings: Settings, page: Page) -> None:
    story.begin().tell().end()
    project(story, settings)
    page.set_content(reporting.report(settings, [story.sweep_id], None).files[0].read_text(encoding="utf-8"))

    def column(index: int) -> list[str]:
        return page.locator(f"table.sortable tbody td:nth-child({index})").all_text_contents()

    before = column(5)
    heading = page.locator("table.sortable th:nth-child(5) button")
    heading.click()
    errors = [float(cell.removesuffix(" %")) for cell in column(5)]
    assert errors == sorted(errors) and column(5) != before
    heading.click()
    assert [float(cell.removesuffix(" %")) for cell in column(5)] == sorted(errors, reverse=True)
    link = page.locator("table.sortable td a").first
    place = str(link.get_attribute("href")).removeprefix("http://127.0.0.1:5000")
    for entered in ("http://127.0.0.1:5001/", "javascript:alert(1)"):  # the second is not taken
        page.get_by_label("MLflow").fill(entered)
        page.get_by_label("MLflow").press("Enter")
        assert link.get_attribute("href") == f"http://127.0.0.1:5001{place}"
    page.locator("table.sortable th:nth-child(1) button").click()
    assert column(1) == [str(number) for number in range(21)]  # by size, not as text

    def drawn() -> str:
        return str(page.locator("figure img").first.evaluate("image => image.currentSrc"))

    page.emulate_media(media="screen", color_scheme="light")
    light = drawn()
    page.emulate_media(media="screen", color_scheme="dark")
    assert drawn() != light
    page.emulate_media(media="print", color_scheme="dark")
    assert drawn() == light

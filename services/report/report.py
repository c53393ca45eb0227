"""A report: a self-contained page on one or several sweeps, its figures as PNG and, if requested, its numbers as files.

All numbers come from the ledger. MLflow provides only the page's links to each trial; if it is away, the page has none.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from services import ledgers
from services.errors import OperationError
from services.report import figures, page, sections, themes
from services.report.exhibits import Exhibit, exhibit, missing
from services.report.export import export
from services.report.findings import unfinished, unheard
from services.report.robustness_figures import Panel, robustness_panels
from services.schemas import UI_PORT
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.results import guessing
from sweeps.results.claims import paper
from sweeps.results.claims.paper import ClaimResult
from sweeps.results.frames import Frames, joined
from sweeps.results.load import load
from sweeps.results.robustness_tables import Robustness, robustness, robustness_findings
from sweeps.results.summary import counted_error
from sweeps.urls import is_server, of_server, without_credentials

PAGE = "index.html"
PANELS = (  # heading, metric, axis, whether logarithmic, whether as means; the sweep's metric is drawn after the first
    ("Weight norm", "weight_norm_sq", "squared weight norm", False, True),
    ("Training error", "train_error", "training error (%)", False, True),
    ("Learning rate", "learning_rate_first", "learning rate at the start of the epoch", True, False),
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written, and its findings.

    Args:
        files: the page first, then figures and exported numbers; these files are attached to the sweeps' runs.
        findings: the page's sentences.
    """

    files: tuple[Path, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportedSweep:
    """A sweep as a report shows it.

    Args:
        row: its row in the ledger.
        label: its name, with the first letters of its id if the name alone is ambiguous.
        guessing: the error of guessing, in percent; None if unknown.
        frames: its trials and curves.
        main: its main figure, if any.
        told: its evidence on the paper's claims.
    """

    row: SweepRow
    label: str
    guessing: float | None
    frames: Frames
    main: Exhibit | None
    told: tuple[ClaimResult, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a report shows.

    Args:
        frames: the trials and curves of all its sweeps.
        arms: the robustness of each arm.
        found: the page's sentences.
        robust: the robustness figures that have data.
    """

    sweeps: Sequence[ReportedSweep]
    frames: Frames
    arms: Sequence[Robustness]
    found: tuple[str, ...]
    robust: tuple[Panel, ...]

    @property
    def is_of_one(self) -> bool:
        """Whether the report is of a single sweep."""
        return len(self.sweeps) == 1

    def of(self, one: ReportedSweep) -> str:
        """What a heading adds to say which sweep it is about."""
        return "" if self.is_of_one else f": {one.label}"


def write_report(
    settings: Settings,
    names: Sequence[str],
    out: Path | None = None,
    kind: str | None = None,
    ui_url: str | None = None,
    runs: Callable[[], Mapping[str, str]] = dict,
    spec: Mapping[str, Any] | None = None,
) -> Report:
    """Write the report of sweeps.

    Args:
        names: ids of sweeps, or names, which stand for the newest sweep of that name.
        out: folder to write to; by default a folder in the home.
        kind: ``csv`` or ``parquet`` to write the numbers too.
        ui_url: base URL of the page's links to MLflow; by default the tracking server, else ``abel ui``.
        runs: finds each trial's address in MLflow below that URL, by trial id; called when all figures are drawn.
        spec: what describes the sweeps; by default their own.

    Raises:
        LedgerError: no such sweep.
        OperationError: the sweeps train different programs, or there is nothing to show.
    """
    shown = _contents(_look(settings, names, spec))
    folder = settings.reports / "+".join(map(_file, shown.sweeps)) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / PAGE, *_draw(shown, folder)]
    served = is_server(settings.tracking_uri)
    ui_url = ui_url or (without_credentials(settings.tracking_uri) if served else of_server("127.0.0.1", UI_PORT))
    files[0].write_text(document(shown, ui_url.rstrip("/"), runs), encoding="utf-8")
    if kind is not None:
        files += export(shown.frames, shown.arms, folder, kind)
    return Report(files=tuple(files), findings=shown.found)


def _contents(sweeps: Sequence[ReportedSweep]) -> Contents:
    frames = sweeps[0].frames if len(sweeps) == 1 else joined({one.label: one.frames for one in sweeps})
    if not (frames.trials["epoch"] > 0).any():
        raise OperationError(f"sweep {sweeps[0].row.name!r}: must have a recorded epoch to be shown, got none yet")
    errors = {counted_error(one.row.spec) for one in sweeps}
    guess = next((one.guessing for one in sweeps if one.guessing is not None), None)
    arms, lacking = robustness(frames, guess, errors.pop() if len(errors) == 1 else "minimum")
    return Contents(
        sweeps=sweeps,
        frames=frames,
        arms=arms,
        found=(*_findings(sweeps), *robustness_findings(arms), *lacking),
        robust=tuple(robustness_panels(frames, arms, guess)),
    )


def _draw(shown: Contents, folder: Path) -> Iterator[Path]:
    """Write the figures as PNG; yield their files."""
    for one in shown.sweeps:
        if one.main is not None:
            file = folder / (one.main.file if shown.is_of_one else f"{_file(one)}-{one.main.file}")
            file.write_bytes(themes.png(one.main.draw(title=one.row.spec.get("title") or one.row.name)))
            yield file
    for panel in shown.robust:
        file = folder / f"{panel.file}.png"
        file.write_bytes(themes.png(panel.figure))
        yield file


def _look(settings: Settings, names: Sequence[str], spec: Mapping[str, Any] | None) -> list[ReportedSweep]:
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        found = map(ledger.sweep, names)
        rows = {row.id: row if spec is None else replace(row, spec=spec) for row in found}
        _one_program(list(rows.values()))
        labels = ledgers.labels(ledger, list(rows.values()))
        frames = {row.id: load(ledger, row) for row in rows.values()}
        guesses = {
            row.id: guessing.guessing_error(row, ledger.trials(row.id)[0].program, settings.data_dir)
            for row in rows.values()
        }
    return [
        ReportedSweep(
            row=row,
            label=labels[row.id],
            guessing=guesses[row.id],
            frames=frames[row.id],
            main=exhibit(frames[row.id], guesses[row.id]),
            told=paper.claims_of(frames[row.id], guesses[row.id]),
        )
        for row in rows.values()
    ]


def _one_program(rows: Sequence[SweepRow]) -> None:
    """Refuse sweeps that train different programs: their errors are not comparable."""
    first, *others = rows
    for row in others:
        old, new = map(_trained, (first, row))
        if differ := [name for name in {**old, **new} if old.get(name) != new.get(name)]:
            what = ", ".join(f"{name}: {old.get(name)} and {new.get(name)}" for name in differ)
            raise OperationError(
                f"sweeps {first.name!r} and {row.name!r}: must train the same program for the same number of epochs, "
                f"got {what}; run `abel report` for each of them"
            )


def _trained(row: SweepRow) -> dict[str, Any]:
    """Return what a sweep trains, with the data of all arms, which an arm may replace."""
    data = {json.dumps(one.program.get("data"), sort_keys=True) for one in row.identities}
    return {"epochs": row.spec.get("epochs"), **row.spec.get("program", {}), "data": " and ".join(sorted(data))}


def _file(sweep: ReportedSweep) -> str:
    return sweep.label.replace(" ", "-")


def _findings(sweeps: Sequence[ReportedSweep]) -> Iterator[str]:
    for one in sweeps:
        said = one.main.findings if one.main else (missing(one.frames, one.guessing),)
        before = f"{one.label}: " if len(sweeps) > 1 else ""
        yield from (f"{before}{text}" for text in (*filter(None, said), *unheard(one.frames, one.guessing)))


def document(shown: Contents, tracking_url: str, runs: Callable[[], Mapping[str, str]]) -> str:
    """The page."""
    first = shown.sweeps[0].row
    title, claim = " and ".join(one.label for one in shown.sweeps), ""
    if shown.is_of_one:
        title, claim = first.spec.get("title") or first.name, first.spec.get("claim") or ""
    kicker = " · ".join(f"{one.row.name} · sweep {one.row.id} · {one.row.status}" for one in shown.sweeps)
    body = (
        *_summary(shown),
        *_main_figures(shown),
        *_claims(shown),
        *_measures(shown.arms),
        *(_section(panel.heading, panel.figure, panel.caption) for panel in shown.robust),
        *(_section(*panel) for panel in _curves(shown.frames)),
        page.section("Arms", sections.arms_section(shown.frames)),
        page.section("Trials", sections.trials_section(shown.frames, tracking_url, runs())),
        *_costs(shown),
    )
    return page.page(title=title, kicker=kicker, claim=claim, body=body)


def _summary(shown: Contents) -> Iterator[str]:
    banners = filter(None, (unfinished(one.row, one.frames) for one in shown.sweeps))
    yield from (page.paragraph(text, "banner") for text in banners)
    yield page.tiles(
        tile
        for one in shown.sweeps
        for tile in (*(one.main.tiles if one.main else ()), *sections.result_tiles(one.frames))
    )
    yield from map(page.paragraph, shown.found)


def _main_figures(shown: Contents) -> Iterator[str]:
    for one in shown.sweeps:
        if one.main is not None:
            heading = one.main.heading if shown.is_of_one else f"{one.label}: {one.main.heading}"
            yield _section(heading, one.main.draw(), one.main.caption)


def _claims(shown: Contents) -> Iterator[str]:
    for one in shown.sweeps:
        if one.told:
            heading = f"The paper's claims and the evidence here{shown.of(one)}"
            yield page.section(heading, sections.claims_section(one.told))


def _measures(arms: Sequence[Robustness]) -> Iterator[str]:
    tables = (
        ("Robustness", sections.measures_section(arms) if arms else ""),
        ("Arms compared", sections.comparisons_section(arms)),
        ("Do the settings interact?", sections.interactions_section(arms)),
    )
    yield from (page.section(heading, table) for heading, table in tables if table)


def _costs(shown: Contents) -> Iterator[str]:
    for one in shown.sweeps:
        yield page.section(f"Cost{shown.of(one)}", sections.cost_section(one.frames, one.row))
        yield page.section(f"Versions and devices{shown.of(one)}", sections.versions_section(one.row))


def _curves(shown: Frames) -> Iterator[tuple[str, Figure, str]]:
    ranges = figures.many(shown)
    own = (shown.metric.label.capitalize(), shown.metric.name, shown.metric.label_with_unit, False, True)
    for heading, metric, label, log, mean in (PANELS[0], own, *PANELS[1:]):
        caption = "Mean over seeds." if mean else "One line for each trial."
        caption = "Median and 5 % to 95 % range of each arm's trials." if ranges else caption
        yield heading, figures.curves_figure(shown, metric, label, log=log, mean=mean), caption


def _section(heading: str, figure: Figure, caption: str) -> str:
    light = themes.svg(figure)
    return page.section(heading, page.picture(light, themes.darkened(light), text=heading, caption=caption))

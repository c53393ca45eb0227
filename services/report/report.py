"""A report: a self-contained page on one or several sweeps, its figures as PNG and, if requested, its numbers as files.

All numbers come from the ledger. MLflow provides only the page's links to each trial; if it is away, the page has none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from services.errors import OperationError
from services.report import figures, page, robustness_figures, sections, themes
from services.report.bounce_figures import bounces_figure, shown_of
from services.report.exhibits import Exhibit, exhibit, missing
from services.report.export import export
from services.report.findings import unfinished, unheard
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
from sweeps.urls import is_server, without_credentials

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
    sweeps = _look(settings, names, spec)
    shown = sweeps[0].frames if len(sweeps) == 1 else joined({one.label: one.frames for one in sweeps})
    if not (shown.trials["epoch"] > 0).any():
        raise OperationError(f"sweep {sweeps[0].row.name!r}: must have a recorded epoch to be shown, got none yet")
    errors = {counted_error(one.row.spec) for one in sweeps}
    guess = next((one.guessing for one in sweeps if one.guessing is not None), None)
    arms, lacking = robustness(shown, guess, errors.pop() if len(errors) == 1 else "minimum")
    found = [*_findings(sweeps), *robustness_findings(arms), *lacking]
    folder = settings.reports / "+".join(map(_file, sweeps)) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / PAGE]
    for one in sweeps:
        if one.main is not None:
            files.append(folder / (one.main.file if len(sweeps) == 1 else f"{_file(one)}-{one.main.file}"))
            files[-1].write_bytes(themes.png(one.main.draw(title=one.row.spec.get("title") or one.row.name)))
    robust = list(_robust(shown, arms, guess))
    for name, figure, _, _ in robust:
        files.append(folder / f"{name}.png")
        files[-1].write_bytes(themes.png(figure))
    served = is_server(settings.tracking_uri)
    ui_url = ui_url or (without_credentials(settings.tracking_uri) if served else f"http://127.0.0.1:{UI_PORT}")
    files[0].write_text(document(sweeps, shown, arms, found, robust, ui_url.rstrip("/"), runs), encoding="utf-8")
    if kind is not None:
        files += export(shown, arms, folder, kind)
    return Report(files=tuple(files), findings=tuple(found))


def _look(settings: Settings, names: Sequence[str], spec: Mapping[str, Any] | None) -> list[ReportedSweep]:
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        found = map(ledger.sweep, names)
        rows = {row.id: row if spec is None else replace(row, spec=spec) for row in found}
        _one_program(list(rows.values()))
        labels = {row.id: _label(row, list(rows.values()), ledger.sweep(row.name)) for row in rows.values()}
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
        old, new = ({"epochs": one.spec.get("epochs"), **one.spec.get("program", {})} for one in (first, row))
        if differ := [name for name in {**old, **new} if old.get(name) != new.get(name)]:
            what = ", ".join(f"{name}: {old.get(name)} and {new.get(name)}" for name in differ)
            raise OperationError(
                f"sweeps {first.name!r} and {row.name!r}: must train the same program for the same number of epochs, "
                f"got {what}; run `abel report` for each of them"
            )


def _label(row: SweepRow, rows: Sequence[SweepRow], newest: SweepRow) -> str:
    """Its name, with part of its id if the name is ambiguous in the report or the ledger."""
    alone = sum(one.name == row.name for one in rows) == 1 and newest.id == row.id
    return row.name if alone else f"{row.name} {row.id[:6]}"


def _file(sweep: ReportedSweep) -> str:
    return sweep.label.replace(" ", "-")


def _findings(sweeps: Sequence[ReportedSweep]) -> Iterator[str]:
    for one in sweeps:
        said = one.main.findings if one.main else (missing(one.frames, one.guessing),)
        before = f"{one.label}: " if len(sweeps) > 1 else ""
        yield from (f"{before}{text}" for text in (*filter(None, said), *unheard(one.frames, one.guessing)))


def document(
    sweeps: Sequence[ReportedSweep],
    shown: Frames,
    arms: Sequence[Robustness],
    found: Sequence[str],
    robust: Iterable[tuple[str, Figure, str, str]],
    tracking_url: str,
    runs: Callable[[], Mapping[str, str]],
) -> str:
    """The page."""
    alone = len(sweeps) == 1
    banners = filter(None, (unfinished(one.row, one.frames) for one in sweeps))
    body = [page.paragraph(text, "banner") for text in banners]
    tiles = [
        tile for one in sweeps for tile in (*(one.main.tiles if one.main else ()), *sections.result_tiles(one.frames))
    ]
    body += [page.tiles(tiles), *(page.paragraph(text) for text in found)]
    for one in sweeps:
        if one.main is not None:
            heading = one.main.heading if alone else f"{one.label}: {one.main.heading}"
            body.append(_section(heading, one.main.draw(), one.main.caption))
    for one in sweeps:
        if one.told:
            of = "" if alone else f": {one.label}"
            body.append(
                page.section(f"The paper's claims and the evidence here{of}", sections.claims_section(one.told))
            )
    if arms:
        body.append(page.section("Robustness", sections.measures_section(arms)))
    for heading, table in (
        ("Arms compared", sections.comparisons_section(arms)),
        ("Do the settings interact?", sections.interactions_section(arms)),
    ):
        if table:
            body.append(page.section(heading, table))
    body += [_section(heading, figure, caption) for _, figure, heading, caption in robust]
    body += [_section(*panel) for panel in _curves(shown)]
    body += [
        page.section("Arms", sections.arms_section(shown)),
        page.section("Trials", sections.trials_section(shown, tracking_url, runs())),
    ]
    for one in sweeps:
        of = "" if alone else f": {one.label}"
        body += [
            page.section(f"Cost{of}", sections.cost_section(one.frames, one.row)),
            page.section(f"Versions and devices{of}", sections.versions_section(one.row)),
        ]
    first = sweeps[0].row
    title = (first.spec.get("title") or first.name) if alone else " and ".join(one.label for one in sweeps)
    kicker = " · ".join(f"{one.row.name} · sweep {one.row.id} · {one.row.status}" for one in sweeps)
    return page.page(title=title, kicker=kicker, claim=(first.spec.get("claim") or "") if alone else "", body=body)


def _robust(shown: Frames, arms: Sequence[Robustness], guess: float | None) -> Iterator[tuple[str, Figure, str, str]]:
    """The robustness figures that have data: file, figure, heading and caption."""
    if robustness_figures.axis_names(arms):
        caption = (
            "Solid: means over the other axes, with 95 % intervals over the seeds. Dotted: the best setting at each value. "
            "Points: randomly drawn settings."
        )
        yield "axes", robustness_figures.axes_figure(arms), "Error by setting", caption
    if planes := [arm for arm in arms if arm.whole and len(arm.axes) > 1]:
        caption = "The first two axes of each arm; means over its other axes and its seeds. Blue is low, yellow high."
        yield "planes", robustness_figures.heat_figure(planes), "Error over two settings", caption
    if len(shown.trials) > 1 and len(robustness_figures.with_results(shown, guess)):
        caption = "Each line is a trial, coloured by its error: blue is low, yellow high. Settings that its arm does not vary "
        caption += "are at the bottom."
        if guess is not None and (shown.trials["outcome"] == "diverged").any():
            caption += " A diverged trial counts as guessing."
        yield "trials", robustness_figures.parallel_figure(shown, guess), "Every trial at once", caption
    drawn, count = shown_of(shown)
    if count:
        some = f" {drawn} of {count} trials are drawn." if drawn < count else ""
        caption = (
            "Trials whose schedule saw a minimum of the norm. Bottom: each curve relative to its lowest value before the "
            "schedule first saw a minimum, with epochs counted from there. A schedule sees a minimum once the norm has risen "
            "again."
        )
        yield "bounces", bounces_figure(shown), "Bounces and the schedule's decisions", caption + some


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

"""A sweep's report: its main figure as a PNG where it has one, and one self-contained page, from the tracking store.

The ledger is asked only which sweep is meant and how far it has come, so that the page can say what the store lacks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from services import figures, page, runs, themes
from services.exhibits import Exhibit, exhibit, missing
from services.figures import in_words, percent
from services.findings import lagging, listed, trial_count, unfinished, unheard
from services.page import Column
from services.runs import Runs
from services.settings import Settings
from services.themes import DARK, LIGHT
from sweeps.ledger import Ledger
from sweeps.rows import SweepRow

PAGE = "index.html"
FOLD_ABOVE = 60  # a longer table of trials is folded away
PANELS = (
    ("Weight norm", "weight_norm_sq", "squared weight norm", False, True),
    ("Test error", "test_error", "test error (%)", False, True),
    ("Learning rate", "learning_rate_first", "learning rate at the start of the epoch", True, False),
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written, and what it says.

    Args:
        files: the page, and the figure if there is one; the files to put on the sweep's run.
        findings: the page's sentences.
        lag: what the tracking store does not show yet; None where it shows all that the ledger holds.
    """

    files: tuple[Path, ...]
    findings: tuple[str, ...]
    lag: str | None


def report(settings: Settings, sweep: str, out: Path | None = None) -> Report:
    """Write the report of the newest sweep of a name (or of an id) into ``out``, by default a folder under the home.

    Raises:
        LedgerError: the ledger does not know the sweep.
        RunsError: the tracking store cannot be read or does not show the sweep at all.
    """
    ledger = Ledger.open(settings.ledger_url)
    try:
        row = ledger.sweep(sweep)
        trials = ledger.trials(row.id)
    finally:
        ledger.close()
    shown = runs.load(settings.tracking_uri, row.id)
    main = exhibit(shown)
    lag, said = lagging(shown, trials), main.findings if main else (missing(shown),)
    found = (*filter(None, said), *unheard(shown))
    folder = settings.reports / row.name if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / PAGE]
    if main is not None:
        files.append(folder / main.file)
        files[-1].write_bytes(themes.png(main.draw(title=shown.about.get("title", row.name))))
    files[0].write_text(document(row, shown, main, found, lag), encoding="utf-8")
    return Report(files=tuple(files), findings=found, lag=lag)


def document(row: SweepRow, shown: Runs, main: Exhibit | None, found: Sequence[str], lag: str | None) -> str:
    """The page."""
    about = shown.about
    body = [page.paragraph(text, "banner") for text in (unfinished(row, shown), lag) if text]
    body += [page.tiles(_tiles(shown, main)), *(page.paragraph(text) for text in found)]
    if main is not None:
        body.append(_main_figure(main))
    for heading, metric, label, log, mean in PANELS:
        light, dark = (
            themes.svg(figures.curves_figure(shown, metric, label, theme=theme, log=log, mean=mean))
            for theme in (LIGHT, DARK)
        )
        caption = "Mean over seeds." if mean else "One line for each trial."
        body.append(page.section(heading, page.picture(light, dark, text=f"{label} by epoch and arm", caption=caption)))
    body += [
        page.section("Arms", _arms(shown)),
        page.section("Trials", _trials(shown)),
        page.section("What it cost", page.facts(_cost(shown))),
        page.section("What decided the numbers", page.facts(_versions(about))),
    ]
    kicker = f"{row.name} · sweep {row.id} · {row.status}"
    return page.page(title=about.get("title", row.name), kicker=kicker, claim=about.get("claim", ""), body=body)


def _tiles(shown: Runs, main: Exhibit | None) -> Iterator[tuple[str, str]]:
    yield from main.tiles if main else ()
    naive, trained = (int(shown.about.get(name, "0")) for name in ("epochs_naive", "epochs_trained"))
    if naive and trained:
        yield f"{1 - trained / naive:.0%}", f"of epochs saved by sharing: {trained:,} trained, {naive:,} without"
    yield f"{len(shown.finished)} of {trial_count(shown)}", "trials finished"


def _main_figure(main: Exhibit) -> str:
    light, dark = (themes.svg(main.draw(theme=theme)) for theme in (LIGHT, DARK))
    return page.section(main.heading, page.picture(light, dark, text=main.heading, caption=main.caption))


def _arms(shown: Runs) -> str:
    ended = ["finished", "diverged", "failed", *(["stopped"] if (shown.trials["outcome"] == "stopped").any() else [])]
    counted = ("trials", *ended, "minimum test error", "final")
    columns = [Column(name="arm"), Column(name="schedule"), *(Column(name=name, number=True) for name in counted)]
    columns.append(Column(name="best setting"))
    rows = []
    for arm, trials in shown.trials.groupby("arm", sort=False):
        counts = [str(int((trials["outcome"] == outcome).sum())) for outcome in ended]
        setting, best = _best(trials[trials["outcome"] == "finished"])
        errors = [_percent(best[name]) for name in ("minimum_test_error", "final_test_error")]
        rows.append(("", [str(arm), str(trials["kind"].iloc[0]), str(len(trials)), *counts, *errors, setting]))
    note = (
        "Errors are those of the arm's best setting, as mean ± standard deviation over seeds. They are chosen "
        "on the test set, as in the paper: they compare arms, they do not estimate the error on new data."
    )
    return page.table(columns, rows) + page.paragraph(note, "note")


def _best(finished: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    groups = [(str(name), group) for name, group in finished.groupby(finished["settings"].map(in_words), sort=False)]
    return min(groups, key=lambda item: float(item[1]["minimum_test_error"].mean()), default=("", finished))


def _trials(shown: Runs) -> str:
    numbers = {"#", "epochs", "minimum test error", "at", "final"}
    names = ("#", "trial", "outcome", "epochs", "minimum test error", "at", "final", "decays after", "norm minimum at")
    columns = [Column(name=name, number=name in numbers) for name in names]
    rows = [(str(row["outcome"]), _trial(row)) for _, row in shown.trials.iterrows()]
    listed = page.table(columns, rows, kind="trials")
    return listed if len(rows) <= FOLD_ABOVE else page.folded(f"{len(rows)} trials", listed)


def _trial(row: "pd.Series[Any]") -> list[str]:
    named = dict.fromkeys(row["bounce_epochs"], "bounce")
    for epoch in row["forced_epochs"]:
        named[epoch] = f"{named[epoch]} and last" if epoch in named else "last"
    decays = ", ".join(f"{epoch} ({named[epoch]})" if epoch in named else str(epoch) for epoch in row["decay_epochs"])
    return [
        str(row["number"]),
        row["name"] + (f": {row['error']}" if row["error"] else ""),
        row["outcome"],
        f"{row['epoch']} of {row['epochs']}" if row["epoch"] < row["epochs"] else str(row["epoch"]),
        _number(row["minimum_test_error"]),
        str(row["minimum_epoch"] or "–"),
        _number(row["final_test_error"]),
        decays or "–",
        listed(row["minimum_epochs"]) or "–",
    ]


def _cost(shown: Runs) -> Mapping[str, str]:
    about = shown.about
    if "epochs_trained" not in about:
        epochs = int(shown.trials["epoch"].sum())
        return {"epochs without sharing": f"{epochs:,}", "epochs trained": "known when the sweep has ended"}
    naive, trained = int(about["epochs_naive"]), int(about["epochs_trained"])
    seconds, wall = float(about["seconds_training"]), float(about["seconds_wall"])
    return {
        "trials": about.get("outcomes", str(trial_count(shown))),
        "epochs without sharing": f"{naive:,}",
        "epochs trained": f"{trained:,}",
        "epochs saved": f"{naive - trained:,} ({1 - trained / naive:.0%})" if naive else "0",
        "epochs replayed": f"{int(about['epochs_replayed']):,} (trained again to reach a state without a checkpoint)",
        "time in training": _duration(seconds),
        "wall time": f"{_duration(wall)} in {about['invocations']} run{'s' * (about['invocations'] != '1')}",
        "sharing": about.get("sharing", ""),
    }


def _versions(about: Mapping[str, str]) -> Mapping[str, str]:
    known = {name.removeprefix("version."): text for name, text in about.items() if name.startswith("version.")}
    return dict(sorted(known.items()))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _percent(errors: "pd.Series[float]") -> str:
    known = [float(error) for error in errors if math.isfinite(error)]
    return percent(known) if known else "–"


def _number(error: float) -> str:
    return f"{error:.2f} %" if math.isfinite(error) else "–"

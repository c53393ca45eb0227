"""A study on a terminal: a table of arms for each workload, their tuning curves, and the arms over all workloads."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from services.cli.tables import Fitted
from sweeps.results.study.values import ArmAcross, ArmInWorkload, Design, Improvement, Study
from sweeps.results.wording import bounded
from sweeps.results.wording import setting as in_short

NONE = "—"
NAMES = {
    "tunability": "tunability",
    "rate_sensitivity": "LR sensitivity",
    "tuning_curve": "tuning curve",
    "exact_band": "exact band",
    "sensitivity": "sensitivity",
    "dimensions": "number of fields to tune",
}
OF_ARMS = (
    "Best: {} in %. Tunability: error of the default minus the best, in points. LR sensitivity: in units of the training "
    "loss. In brackets: 95 % intervals over seeds."
)
OF_CURVES = (
    "Draws: median {} in % of the best of so many random draws. In brackets: the 95 % band of the whole curve, 0 or 100 where "
    "it has no end."
)
OF_SCORES = (
    "Scores: 0 and 1 are the errors at the 95th and 5th percentile of all settings of these arms in a workload. Tuned: the best "
    "setting of each workload. Common: the best single setting. Sensitivity: tuned minus common. Fields to tune: the fewest "
    "that, tuned per workload, reach 95 % of tuned."
)
OF_MEANS = (
    "Interquartile means of the scores, with 95 % bootstrap intervals over seeds. The best setting of a seed is that of the "
    "other seeds."
)
OF_PAIRS = (
    "Probability that the first arm has a lower error, each seed at the best setting of the other seeds, with 95 % "
    "bootstrap intervals."
)


def study_tables(result: Study) -> RenderableType:
    """The tables of a study, and what is missing from them."""
    parts: list[RenderableType] = []
    for workload, sweep_id in result.workloads.items():
        arms = [arm for arm in result.arms if arm.workload == workload]
        parts += [Text.assemble((workload, "bold"), f"  sweep {sweep_id}"), _arms(arms)]
        if drawn := [arm for arm in arms if arm.tuning_curve]:
            parts.append(_curves(drawn))
        parts += _cautions(arms)
    parts.append(Text(OF_ARMS.format(result.error), style="dim"))
    if any(arm.tuning_curve for arm in result.arms):
        parts.append(Text(OF_CURVES.format(result.error), style="dim"))
    parts += _reasons(result.arms)
    if result.across or result.improvements:
        parts.append(Text("\nOver all workloads", style="bold"))
    if result.across:
        parts += [_scores(result.across), *_reasons(result.across), _means(result.across)]
    if result.improvements:
        parts.append(_pairs(result.improvements))
    written = (Text(f"Wrote {file}", no_wrap=True, overflow="ignore") for file in result.files)
    return Group(*parts, *map(Text, result.notes), *written)


def _arms(arms: Sequence[ArmInWorkload]) -> Fitted:
    columns = ("arm", "settings", "seeds", "best", "tunability", "LR sensitivity")
    table = Fitted(columns, free=columns[1:])
    for arm in arms:
        table.add_row(
            escape(arm.arm),
            f"{arm.settings}" if arm.design is Design.SINGLE else f"{arm.settings} ({arm.design})",
            f"{arm.seeds}",
            bounded(arm.best),
            NONE if arm.tunability is None else bounded(arm.tunability),
            NONE if arm.rate_sensitivity is None else bounded(arm.rate_sensitivity, 2),
        )
    return table


def _cautions(arms: Sequence[ArmInWorkload]) -> Iterator[Text]:
    """Yield what to know about the arms of a workload before reading their measures."""
    if near := [arm.arm for arm in arms if arm.near_chance]:
        yield Text(f"Near chance: {', '.join(near)}.")
    if diverged := [f"{arm.arm} {arm.diverged}" for arm in arms if arm.diverged]:
        yield Text(f"Diverged trials, which count as guessing: {', '.join(diverged)}.")
    if initial := [f"{arm.arm} {arm.initial_loss:.2f}" for arm in arms if arm.initial_loss is not None]:
        yield Text(f"Initial loss of LR sensitivity: {', '.join(initial)}.")


def _reasons(arms: Sequence[ArmInWorkload | ArmAcross]) -> Iterator[Text]:
    """Yield why measures are missing, once for all arms, workloads and measures with the same reason."""
    alike: dict[tuple[tuple[str, ...], str], list[ArmInWorkload | ArmAcross]] = {}
    for arm in arms:
        by_reason: dict[str, list[str]] = {}
        for name, why in arm.missing.items():
            by_reason.setdefault(why, []).append(NAMES[name])
        for why, names in by_reason.items():
            alike.setdefault((tuple(names), why), []).append(arm)
    for (lacking, why), found in alike.items():
        measures = " or ".join(filter(None, (", ".join(lacking[:-1]), lacking[-1])))
        yield Text(f"No {measures} of {', '.join(_named(found, arms))}: {why}.")


def _named(found: Sequence[ArmInWorkload | ArmAcross], arms: Sequence[ArmInWorkload | ArmAcross]) -> Iterator[str]:
    """Yield the arms by name, with their workloads unless these are all in which the arm is."""
    for name in dict.fromkeys(arm.arm for arm in found):
        places = [arm.workload for arm in found if isinstance(arm, ArmInWorkload) and arm.arm == name]
        everywhere = len(places) == sum(arm.arm == name for arm in arms)
        yield name if everywhere or not places else f"{name} in {', '.join(places)}"


def _curves(arms: Sequence[ArmInWorkload]) -> Fitted:
    columns = ("draws", *(escape(arm.arm) for arm in arms))
    table = Fitted(columns, free=columns[1:], right=("draws",))
    found = {arm.arm: dict(arm.tuning_curve) for arm in arms}
    for draws in sorted({draws for curve in found.values() for draws in curve}):
        cells = (bounded(curve[draws]) if draws in curve else NONE for curve in found.values())
        table.add_row(f"{draws}", *cells)
    return table


def _scores(arms: Sequence[ArmAcross]) -> Group:
    columns = ("arm", "tuned", "common", "sensitivity", "fields to tune")
    table = Fitted(columns, free=columns[4:], right=columns[1:4], caption=OF_SCORES)
    for arm in arms:
        fields = NONE if arm.dimensions is None else f"{arm.dimensions} of {arm.fields}"
        named = ", ".join(name.rpartition(".")[2] for name in arm.tuned_fields)
        table.add_row(
            escape(arm.arm),
            f"{arm.tuned_score:.2f}",
            *(NONE if number is None else f"{number:.2f}" for number in (arm.common_score, arm.sensitivity)),
            escape(f"{fields}: {named}" if named else fields),
        )
    settings = {arm.arm: in_short(arm.common_setting) for arm in arms if arm.common_setting}
    return Group(table, *(Text(f"Common setting of {arm}: {shown}.") for arm, shown in settings.items()))


def _means(arms: Sequence[ArmAcross]) -> Fitted:
    table = Fitted(("arm", "IQM at the best setting", "IQM over all settings"), caption=OF_MEANS)
    for arm in arms:
        table.add_row(escape(arm.arm), bounded(arm.iqm_at_best, 2), bounded(arm.iqm_over_settings, 2))
    return table


def _pairs(pairs: Sequence[Improvement]) -> Fitted:
    table = Fitted(("arm", "against", "probability of improvement"), caption=OF_PAIRS)
    for pair in pairs:
        table.add_row(escape(pair.first), escape(pair.second), bounded(pair.probability, 2))
    return table

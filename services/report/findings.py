"""The findings of a sweep, in sentences."""

from collections.abc import Iterable, Iterator, Sequence

from abel.curves import bounces
from services.report.figures import mean_percent
from sweeps.ledger.queries import OUTCOMES
from sweeps.ledger.records import SweepRow, SweepStatus
from sweeps.results.claims.decay_time import DecayTime
from sweeps.results.frames import Frames
from sweeps.results.wording import counted, signed

NAMED_AT_MOST = 8


def decay_time_findings(numbers: DecayTime) -> Iterator[str]:
    """The findings of the decay-time experiment, in sentences."""
    yield from filter(None, (_cost_of_early_decay(numbers), _other_epochs(numbers), _bounce(numbers), _abel(numbers)))


def unheard(shown: Frames, guessing: float | None = None) -> Iterator[str]:
    """Which trials are left out of means, and which count as guessing.

    Args:
        guessing: the error of guessing, in percent; None if unknown.
    """
    yield from _diverged(shown, guessing)
    outcomes = zip(shown.trials["name"], shown.trials["outcome"], strict=True)
    others = [f"{name} ({outcome})" for name, outcome in outcomes if outcome not in ("finished", "diverged")]
    if others:
        many = len(others) > 1
        yield f"{counted(len(others), 'trial')} did not finish and {'are' if many else 'is'} left out: {_some(others)}."


def _diverged(shown: Frames, guessing: float | None) -> Iterator[str]:
    diverged = shown.trials.loc[shown.trials["outcome"] == "diverged", "name"]
    guesses = {name: shown.chance.guesses.get(name, guessing) for name in diverged}
    known = {name: error for name, error in guesses.items() if error is not None}
    if known:
        errors = " or ".join(f"{error:g}" for error in sorted(set(known.values())))
        counts = f"{'They count' if len(known) > 1 else 'It counts'} as guessing, {errors} % {shown.metric.error_label}"
        yield f"{_diverged_names(list(known))} {counts}, wherever errors are averaged or compared."
    if unknown := [name for name in guesses if name not in known]:
        yield (
            f"{_diverged_names(unknown)} A diverged trial counts as guessing, but the error of guessing is unknown: the sweep "
            "does not record the number of classes, and its data set is not here. "
            f"{'They are' if len(unknown) > 1 else 'It is'} left out, and so are the measures of such arms."
        )


def _diverged_names(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'trial')} diverged: {_some(names)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + ", …" * (len(names) > NAMED_AT_MOST)


def _cost_of_early_decay(numbers: DecayTime) -> str:
    pair = numbers.paired
    if pair is None:
        return f"No early decay can be compared with one after the bounce: {numbers.no_pair}."
    early, late = pair.means
    return (
        f"Decaying after epoch {pair.earlier} instead of after epoch {pair.later}, the grid's first at or after ABEL's own "
        f"first decays, changes the minimum {numbers.label} by {signed(pair.cost)} points: {early:.1f} % against {late:.1f} %, "
        f"paired over {counted(len(pair.errors), 'seed')}."
    )


def _other_epochs(numbers: DecayTime) -> str:
    if numbers.paired is None:
        return ""
    others = {epoch: cost for epoch, cost in numbers.costs.items() if epoch != numbers.paired.earlier}
    each = ", ".join(f"{signed(cost)} after epoch {epoch}" for epoch, cost in others.items())
    return f"Relative to epoch {numbers.paired.later}, the grid's other epochs change it by {each}." if others else ""


def _bounce(numbers: DecayTime) -> str:
    if numbers.norm.empty:
        return ""
    norm = numbers.norm.mean(axis=1).tolist()
    seen, last = bounces(norm), len(norm)
    start = f"At the constant rate, the squared weight norm goes from {norm[0]:.4g} after epoch 1 to"
    if not seen.bounced:
        return f"{start} {norm[-1]:.4g} after epoch {last} and does not bounce."
    low = seen.whole.minimum
    return f"{start} its minimum, {norm[low - 1]:.4g}, after epoch {low}, and to {norm[-1]:.4g} after epoch {last}."


def _abel(numbers: DecayTime) -> str:
    if not numbers.abel:
        return ""
    own = [epochs[0] for _, epochs in sorted(numbers.bounce_epochs.items()) if epochs]
    by_seed = " (by seed)" if len(own) > 1 else ""
    when = f"decays by itself after epoch {listed(own)}{by_seed}" if own else "does not decay by itself"
    some = f", in {len(own)} of {len(numbers.abel)} seeds," if 0 < len(own) < len(numbers.abel) else ""
    never = f"; without any decay it is {mean_percent(numbers.constant.values())}" if numbers.constant else ""
    return f"ABEL {when}{some} and reaches a minimum {numbers.label} of {mean_percent(numbers.abel.values())}{never}."


def unfinished(row: SweepRow, shown: Frames) -> str:
    """A note on how far an unfinished sweep is; empty if it is finished."""
    if row.status is SweepStatus.FINISHED:
        return ""
    ended = int(shown.trials["outcome"].isin(OUTCOMES).sum())
    return f"The sweep is {row.status}: {ended} of its {len(shown.trials)} trials have ended. The results below are incomplete."


def listed(epochs: Iterable[int]) -> str:
    """Epochs as text."""
    return ", ".join(map(str, epochs))

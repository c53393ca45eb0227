"""A page of the ledger's events, sorted by trial. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sweeps.ledger.records import EventRow


@dataclass
class Change:
    """The events of one trial in an act of a sweep."""

    first_ms: int
    keys: list[str] = field(default_factory=list)
    decisions: list[EventRow] = field(default_factory=list)
    incidents: list[EventRow] = field(default_factory=list)
    ended: EventRow | None = None

    @property
    def trained(self) -> bool:
        """Whether the trial was trained further."""
        return bool(self.keys or self.decisions)


def act(events: Sequence[EventRow]) -> Sequence[EventRow]:
    """The longest prefix of a page that can be shown in one step.

    It stops at the end of an invocation, and before a trial continues that has ended in it. So what a store shows depends
    only on the events, not on where pages begin: rebuilt from nothing, it is the same.
    """
    ended: set[str] = set()
    for index, event in enumerate(events):
        if event.kind == "sweep_ended":
            return events[: index + 1]
        if event.kind in ("progress", "trial_ended") and not ended.isdisjoint(_trials_of(event)):
            return events[:index]
        if event.kind == "trial_ended":
            ended.update(_trials_of(event))
    return events


def changes(events: Iterable[EventRow]) -> dict[str, Change]:
    """Sort an act by trial, keeping the order in which trials first appear."""
    found: dict[str, Change] = {}
    for event in events:
        for trial in _trials_of(event):
            change = found.setdefault(trial, Change(first_ms=event.at_ms))
            match event.kind:
                case "progress":
                    change.keys += event.payload["keys"]
                case "schedule":
                    change.decisions.append(event)
                case "incident":
                    change.incidents.append(event)
                case "trial_ended":
                    change.ended = event
    return found


def _trials_of(event: EventRow) -> Iterable[str]:
    match event.kind:
        case "progress" | "incident":
            return list(event.payload.get("trials", ()))
        case "schedule" | "trial_ended":
            return [str(event.payload["trial"])]
        case _:
            return []


def is_work(event: EventRow) -> bool:
    """Whether an event shows that the sweep is running, rather than only describing it."""
    return event.kind in ("sweep_started", "progress", "schedule", "trial_ended")

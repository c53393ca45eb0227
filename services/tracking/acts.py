"""What a page of the ledger's events says, sorted by trial. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sweeps.ledger.records import EventRow


@dataclass
class Change:
    """What an act of a sweep says about one trial."""

    first_ms: int
    keys: list[str] = field(default_factory=list)
    decisions: list[EventRow] = field(default_factory=list)
    incidents: list[EventRow] = field(default_factory=list)
    ended: EventRow | None = None

    @property
    def trained(self) -> bool:
        """Whether the trial went on."""
        return bool(self.keys or self.decisions)


def act(events: Sequence[EventRow]) -> Sequence[EventRow]:
    """The longest beginning of a page that can be shown in one go.

    It ends with an invocation, and before a trial goes on that has ended in it. So what a store shows in the end depends
    on the events alone and not on where pages began: shown again from nothing, it comes out the same.
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
    """Whether an event says that the sweep is at work, and not only something about it."""
    return event.kind in ("sweep_started", "progress", "schedule", "trial_ended")

"""News of a sweep: the ledger's events as short texts, for the live view and the log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from abel.schedules import Event
from sweeps.ledger.records import EventRow, TrialStatus
from sweeps.results.wording import counted
from sweeps.run.failures import FailureClass

PAGE = 1000
# Decisions of training. A milestone is known in advance, so it is not news; neither is a finished trial.
DEEDS = {
    Event.MINIMUM: "minimum",
    Event.DECAY: "decay",
    Event.LAST_DECAY: "last decay",
    Event.PLATEAU: "decay on a plateau",
}


class Events(Protocol):
    """The part of a ledger that is read here."""

    def events(self, sweep_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """The sweep's next events after an event's id, in order."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One piece of news; ``trial`` is the trial's name, or None if it concerns the sweep."""

    trial: str | None
    text: str


@dataclass(kw_only=True)
class News:
    """Follows one sweep's events. A trial's schedule events accumulate in one text: ``minimum at 9, decay at 24``.

    The first poll is silent: what a sweep covers when it opens was trained earlier, by it or by another sweep.
    """

    ledger: Events
    sweep_id: str
    names: Mapping[str, str]  # trial id to name
    _after: int = 0
    _opened: bool = False
    _deeds: dict[str, list[str]] = field(default_factory=dict)

    def skip(self) -> None:
        """Read the events of earlier invocations silently."""
        for _ in self._read():
            pass

    def poll(self) -> Iterator[Item]:
        """Yield the news since the last call; nothing on the first."""
        if self._opened:
            yield from self._read()
        else:
            self.skip()
            self._opened = True

    def _read(self) -> Iterator[Item]:
        while rows := self.ledger.events(self.sweep_id, self._after, PAGE):
            for row in rows:
                self._after = row.id
                yield from self.tell(row.kind, row.payload)
            if len(rows) < PAGE:
                return

    def tell(self, kind: str, payload: Mapping[str, Any]) -> Iterator[Item]:
        """Yield an event in words, unless it is no news."""
        match kind:
            case "schedule":
                new = [f"{deed} at {payload['epoch']}" for flag, deed in DEEDS.items() if payload["event"] & flag]
                deeds = self._deeds.setdefault(payload["trial"], [])
                deeds += new
                if new:
                    yield Item(trial=self.names[payload["trial"]], text=", ".join(deeds))
            case "trial_ended" if payload["status"] != TrialStatus.FINISHED:
                yield Item(trial=self.names[payload["trial"]], text=_ending(payload))
            case "nondeterministic":
                yield Item(trial=None, text=f"a replayed epoch differs from its record: {dict(payload)}")
            case "incident" if payload["trials"]:  # the command that replaces a driver reports its loss
                yield Item(trial=None, text=_incident(payload))
            case "note":  # written by earlier versions
                yield Item(trial=None, text=payload["text"])
            case _:
                return


def _incident(payload: Mapping[str, Any]) -> str:
    """What happened to a cohort, and the response."""
    trials = len(payload["trials"])
    then = "resuming from the last checkpoint" if payload["again"] else "given up"
    then += ", alone" if payload["again"] and payload.get("class") == FailureClass.OUT_OF_MEMORY else ""
    return f"{payload['text']} (epoch {payload['epoch']}, {counted(trials, 'trial')}): {then}"


def _ending(payload: Mapping[str, Any]) -> str:
    """How a trial ended, with the first line of its error; the rest is in the log."""
    reason = (payload.get("error") or "").strip().splitlines()
    return f"{payload['status']} at epoch {payload['epoch']}" + (f": {reason[0]}" if reason else "")

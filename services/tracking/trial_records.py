"""Which of a trial's records the tracking store gets with an act: those that it lacks, thinned out for a long trial."""

from collections.abc import Mapping, Sequence

from services.tracking import downsampling, projection
from services.tracking.acts import Change
from services.tracking.store import Shown
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import StateRow, SweepRow, TrialRow


class TrialRecords:
    """The records of a sweep's trials in the ledger; ``rows`` are the trials by id, as last read."""

    def __init__(self, ledger: Ledger, sweep: SweepRow) -> None:
        self._ledger, self._sweep = ledger, sweep
        self.rows: dict[str, TrialRow] = {}

    def refresh(self) -> None:
        """Read the rows of the trials again."""
        self.rows = {row.id: row for row in self._ledger.trials(self._sweep.id)}

    def news(self, row: TrialRow, shown: Shown, change: Change, states: Mapping[str, StateRow]) -> list[StateRow]:
        """The trial's records that the store lacks, in order: from the events, or from its path if they leave a gap."""
        news = [states[key] for key in change.keys if states[key].epoch > shown.epoch]
        last = news[-1].epoch if news else shown.epoch
        if [state.epoch for state in news] != list(range(shown.epoch + 1, last + 1)):
            news = [state for state in self._ledger.curve(change.keys[-1]) if state.epoch > shown.epoch]
        if change.ended and (change.ended.payload.get("epoch") or 0) > last:
            news = [state for state in self.path(row, change, states) if state.epoch > shown.epoch]
        return news

    def kept(
        self, row: TrialRow, shown: Shown, change: Change, news: Sequence[StateRow], path: Sequence[StateRow]
    ) -> Sequence[StateRow]:
        """The records to show now: for a long trial only some, a few of them once their epochs prove eventful."""
        if downsampling.is_whole(row.epochs):
            return news
        decided = {decision.payload["epoch"] for decision in change.decisions}
        wanted = downsampling.eventful(*projection.turns(shown.tags, change.decisions)) & decided
        wanted |= {state.epoch for state in news if downsampling.on_grid(state.epoch, row.epochs, self._sweep.metric)}
        if change.ended and change.ended.payload["status"] in downsampling.AT_THEIR_END:
            wanted |= downsampling.ends(path, self._sweep.metric)
        at_hand = path or news
        if not wanted <= {state.epoch for state in at_hand}:
            self.refresh()
            at_hand = self._ledger.curve(self.rows[row.id].head)
        return [state for state in at_hand if state.epoch in wanted]

    def path(self, row: TrialRow, change: Change, states: Mapping[str, StateRow]) -> list[StateRow]:
        """All records of a trial up to its end; the ledger may have later ones, if the trial has since continued."""
        ended = change.ended.payload.get("epoch") if change.ended else None
        at_hand = change.keys and states[change.keys[-1]].epoch == ended
        curve = self._ledger.curve(change.keys[-1] if at_hand else row.head)
        return [state for state in curve if ended is None or state.epoch <= ended]

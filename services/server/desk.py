"""What people may ask of the service, and what it answers; who they are was checked before.

Everybody sees and commands their own submissions; those of others do not exist for them. An ``admin`` sees all.
"""

import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from services import ledgers
from services.errors import OperationError
from services.schemas import Checked, SweepDetail
from services.server.curves import Stretch, SweepCurves, curves_of, tree_of
from services.server.jobs import JobPlace, JobState
from services.server.launches import LaunchStates
from services.server.reconciling import phase_of
from services.server.showing import happening, shown_submission
from services.server.values import Asked, Happening, Submitted, SubmittedDetail, SubmittedPage
from services.settings import Settings
from services.verbs import status
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.ledger.submissions.entering import SubmissionRequest
from sweeps.ledger.submissions.pulses import Pulse
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Submission, Token, Wanted
from sweeps.ledger.submissions.tokens import Tokens

MOST_OPEN = 100  # submissions of one owner that have no outcome yet
PAGE = 200
SWEEPS_KNOWN = 64  # whose trials' names are remembered


class NotThere(OperationError):
    """There is no such submission for this person."""


class Mark(NamedTuple):
    """What changes whenever a submission is shown differently, or there is an event of its sweep."""

    phase: Phase
    wanted: Wanted
    error: str | None
    sweep_id: str | None
    launches: int
    pulse: Pulse | None

    @property
    def last_event(self) -> int:
        """The id of its sweep's last event, or 0."""
        return 0 if self.pulse is None else self.pulse.last_event


class Desk:
    """The verbs of the service over one ledger."""

    def __init__(self, settings: Settings, ledger: Ledger, jobs: JobPlace) -> None:
        self._settings, self._ledger, self._jobs = settings, ledger, jobs
        self._states = LaunchStates(jobs)
        # Those who wait for it are entered in one transaction; and PostgreSQL's writers do not see each other's submissions, so
        # two at once could exceed an owner's limit.
        self._writing = threading.Lock()
        self._waiting: deque[SubmissionRequest] = deque()
        self._queue, self._tokens = Submissions.of(ledger), Tokens.of(ledger)
        self._trial_names = lru_cache(SWEEPS_KNOWN)(self._read_names)

    def submit(self, actor: Token, asked: Asked, key: str | None = None) -> tuple[Submitted, bool]:
        """Enter a request; return the submission, and whether it is new.

        Raises:
            OtherRequest: the idempotency key was used for another request.
            TooManyOpen: the owner has too many open submissions.
        """
        request = SubmissionRequest(
            owner=actor.owner,
            name=str(asked.spec["name"]),
            spec=asked.spec,
            options=asked.options,
            priority=asked.priority,
            idempotency=key,
            most_open=MOST_OPEN,
        )
        self._waiting.append(request)
        with self._writing:
            if request.answer is None:  # whoever has the lock enters all who wait for it
                self._queue.submit_all([self._waiting.popleft() for _ in range(len(self._waiting))])
        one, new = request.result()
        return self._shown(one), new

    def listed(
        self, actor: Token, *, cursor: str | None = None, limit: int = 50, name: str | None = None
    ) -> SubmittedPage:
        """Return the actor's submissions, newest first; an admin's are everybody's.

        Raises:
            OperationError: the cursor is not one that a page gave.
        """
        found = self._queue.page(_owner(actor), before=_before(cursor), limit=limit + 1, name=name)
        known = {one.sweep_id for one in found if one.sweep_id is not None}
        sweeps = {row.id: row for row in self._ledger.intact_sweeps(known)}
        states = self._states.asked(shown := found[:limit])
        items = tuple(
            shown_submission(self._ledger, one, sweeps.get(one.sweep_id or ""), states[one.id]) for one in shown
        )
        more = f"{found[limit - 1].created_ms}-{found[limit - 1].id}" if len(found) > limit else None
        return SubmittedPage(items=items, next=more)

    def named(self, actor: Token, id_or_name: str) -> Submission:
        """Return a submission by id, or the newest of the actor's own with a name.

        Raises:
            NotThere: this person has no such submission.
        """
        try:
            one = self._queue.submission(id_or_name)
        except LedgerAway:
            raise
        except LedgerError:
            found = self._queue.page(actor.owner, limit=1, name=id_or_name)
        else:
            found = [one] if _owner(actor) in (None, one.owner) else []
        if not found:
            raise NotThere(f"submission {id_or_name[:60]!r}: must be the id or name of one of {actor.owner}'s")
        return found[0]

    def detail(self, actor: Token, id: str) -> SubmittedDetail:
        """Return a submission with its spec, arms and trials."""
        one = self.named(actor, id)
        return SubmittedDetail(
            submission=self._shown(one), spec=one.spec, options=one.options, detail=self.sweep_detail(one)
        )

    def sweep_detail(self, one: Submission) -> SweepDetail | None:
        """Return a submission's sweep with its arms and trials; None if it has none yet."""
        sweep = self.sweep_of(one)
        return None if sweep is None else status.detail(self._settings, self._ledger, sweep)

    def sweep_of(self, one: Submission) -> SweepRow | None:
        """Return the ledger's row of a submission's sweep; None if it has none yet."""
        if one.sweep_id is None:
            return None
        return ledgers.intact_sweep(self._ledger, one.sweep_id)

    def curves(self, actor: Token, id: str, best: int) -> SweepCurves | None:
        """Return the curves of the best settings of a submission's sweep; None if it has none yet."""
        sweep = self.sweep_of(self.named(actor, id))
        return None if sweep is None else curves_of(self._ledger, sweep, best)

    def tree(self, actor: Token, id: str) -> tuple[Stretch, ...]:
        """Return which epochs the trials of a submission's sweep have in common."""
        sweep = self.sweep_of(self.named(actor, id))
        return () if sweep is None else tree_of(self._ledger, sweep)

    def check(
        self, actor: Token, id: str, baseline: Mapping[str, Any], margins: Sequence[str], rules: Sequence[str]
    ) -> Checked:
        """Compare a submission's sweep with a baseline, as `abel check` does.

        Raises:
            OperationError: it has no sweep yet, or a margin or rule is invalid.
            BaselineError: the baseline is not one.
        """
        from services.verbs import gate  # statistics, which nothing else here needs
        from sweeps.results.baseline import parse_baseline

        sweep = self.sweep_of(self.named(actor, id))
        if sweep is None:
            raise OperationError("check: must be of a sweep that has started, and this one has not")
        before = parse_baseline(json.dumps(baseline), "in the request")
        return gate.check(self._settings, sweep.id, before, gate.margins(margins), [gate.rule(text) for text in rules])

    def pause(self, actor: Token, id: str) -> Submitted:
        """Let the running epochs finish and save them; nothing is started until it is resumed."""
        return self._want(actor, id, Wanted.PAUSED)

    def resume(self, actor: Token, id: str) -> Submitted:
        """Go on with a paused submission, and with its sweep if that was paused where the service runs."""
        if (sweep_id := self.named(actor, id).sweep_id) is not None:
            self._ledger.end_pause(sweep_id)
        return self._want(actor, id, Wanted.RUNNING)

    def cancel(self, actor: Token, id: str) -> Submitted:
        """End a submission for good; recorded epochs are kept."""
        return self._want(actor, id, Wanted.CANCELLED)

    def extend(
        self,
        actor: Token,
        one: Submission,
        spec: Mapping[str, Any],
        options: Mapping[str, Any],
        key: str | None = None,
    ) -> tuple[Submitted, bool]:
        """Submit a submission again with other seeds or epochs; what is recorded is not trained again.

        Args:
            spec: the changed spec, checked.
            options: what to change of its options, its priority included.
        """
        known = {name: value for name, value in one.options.items() if name in Asked.__dataclass_fields__}
        return self.submit(actor, Asked(spec=spec, **{"priority": one.priority, **known, **options}), key)

    def events(self, mark: Mark, after: int) -> list[Happening]:
        """Return what happened in a submission's sweep after an event, in order, at most a page of it."""
        if mark.sweep_id is None:
            return []
        rows = self._ledger.events(mark.sweep_id, after, PAGE)
        names = self._trial_names(mark.sweep_id) if rows else {}
        return [happening(row, names) for row in rows]

    def stands(self, actor: Token) -> bool:
        """Whether the actor's token may still be used."""
        return self._tokens.stands(actor)

    def progress(self, id: str, before: Mark | None) -> tuple[Mark, Submitted] | None:
        """Return a submission with its mark; None if that is as before, which is cheap enough to ask every second.

        It waits for the ledger alone: of a slow start it tells what the place of jobs said last.
        """
        one = self._queue.submission(id)  # before its sweep: if it has ended, the mark has the last event
        phase = phase_of(one, state := self._states.latest(one))
        pulse = None if one.sweep_id is None else self._queue.pulse(one.sweep_id)
        mark = Mark(phase, one.wanted, one.error, one.sweep_id, one.launches, pulse)
        return None if mark == before else (mark, self._shown(one, state))

    def output(self, actor: Token, id: str) -> str:
        """Return the end of what a submission's last process printed."""
        one = self.named(actor, id)
        return self._jobs.output(one.id, one.launches) if one.launches else ""

    def _read_names(self, sweep_id: str) -> Mapping[str, str]:
        """The names of a sweep's trials by id; they never change."""
        return {trial.id: trial.name for trial in self._ledger.trials(sweep_id)}

    def _want(self, actor: Token, id: str, wanted: Wanted) -> Submitted:
        one = self.named(actor, id)
        with self._writing:
            changed = self._queue.want(one.id, wanted, actor=actor.owner)
        return self._shown(changed)

    def _shown(self, one: Submission, state: JobState | None = None) -> Submitted:
        """A submission in one line; the place of its last launch is asked unless ``state`` is what it says."""
        said = self._states.asked([one])[one.id] if state is None else state
        return shown_submission(self._ledger, one, self.sweep_of(one), said)


def _owner(actor: Token) -> str | None:
    """Whose submissions an actor sees; None for everybody's."""
    return None if "admin" in actor.scopes else actor.owner


def _before(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    created, _, id = cursor.partition("-")
    if not (created.isascii() and created.isdigit() and len(created) < 16 and id.isalnum()):
        raise OperationError(f"cursor: must be one that a page gave, got {cursor[:60]!r}")
    return int(created), id

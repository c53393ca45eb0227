"""The queue of submissions: what was asked for, what is wanted of it now, and which process carries it out.

A launch has a number. The process that it starts takes the submission by that number, renews its lease, and reads at each
renewal what is wanted. So a process that was started twice, or that hung beyond its lease, finds another number and ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from sweeps.ledger import leases, tables
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.driving import Driving
from sweeps.ledger.holding import now_ms
from sweeps.ledger.integrity import intact_rows
from sweeps.ledger.leases import Fenced, Holder
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import storable
from sweeps.ledger.sealing import change_rows
from sweeps.ledger.submissions.entering import AT, SubmissionRequest, count_open_of, enter
from sweeps.ledger.submissions.lost import free_leases
from sweeps.ledger.submissions.pulses import Pulse, pulse_of
from sweeps.ledger.submissions.rows import Submission, Wanted
from sweeps.ledger.submissions.tokens import add_audit_row

ACTIONS = {Wanted.RUNNING: "resume", Wanted.PAUSED: "pause", Wanted.CANCELLED: "cancel"}  # in the audit log


class Submissions(Driving):
    """The submissions in a ledger; every method is one short transaction."""

    @classmethod
    def of(cls, ledger: Ledger) -> "Submissions":
        """Return the submissions of an open ledger, whose connections they share."""
        return cls(ledger._engine)

    # What people ask for

    def submit(
        self,
        owner: str,
        name: str,
        spec: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        priority: int = 0,
        idempotency: str | None = None,
        most_open: int | None = None,
    ) -> tuple[Submission, bool]:
        """Enter a request; return it, and whether it is new: with a known idempotency key, the earlier one is returned.

        A new one is entered in the audit log in the same transaction.

        Args:
            most_open: how many submissions without an outcome the owner may have; callers take turns to have it kept exactly.

        Raises:
            OtherRequest: the key was used for another request.
            TooManyOpen: it would be one more than the owner may have.
        """
        one = SubmissionRequest(owner, name, spec, options, priority, idempotency, most_open)
        self.submit_all([one])
        return one.result()

    def submit_all(self, requests: Sequence[SubmissionRequest]) -> None:
        """Enter requests in one transaction, in their order, and answer each; an error of one of them harms no other.

        On PostgreSQL the order is that of their keys, so at an owner's limit the keys decide which are refused.
        """
        begun = False
        try:
            with self._write() as connection:
                begun = True
                for one in _in_order(connection, requests):
                    enter(connection, one)
        except Exception as error:
            # Nothing was written. If the transaction had begun, it may be due to one of them.
            singly = begun and len(requests) > 1 and not isinstance(error, LedgerAway)
            for one in requests:
                one.answer = error
                if singly:
                    self.submit_all([one])

    def submission(self, id: str) -> Submission:
        """Return a submission.

        Raises:
            LedgerError: no submission has this id.
        """
        with self._read() as connection:
            return _one(_rows(connection, AT.id == id), id)

    def page(
        self, owner: str | None, *, before: tuple[int, str] | None = None, limit: int = 50, name: str | None = None
    ) -> list[Submission]:
        """Return submissions, newest first, of one owner or of all; ``before`` is the last one's (created_ms, id)."""
        query = select(tables.submissions).order_by(AT.created_ms.desc(), AT.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(AT.owner == owner)
        if name is not None:
            query = query.where(AT.name == name)
        if before is not None:
            created, id = before
            query = query.where((AT.created_ms < created) | ((AT.created_ms == created) & (AT.id < id)))
        with self._read() as connection:
            return intact_rows(connection, tables.submissions, query, Submission.read)

    def want(self, id: str, wanted: Wanted, why: str | None = None, *, actor: str | None = None) -> Submission:
        """Change what is wanted of a submission, and why. Return it as it is then.

        One that has an outcome keeps it, and one that was cancelled stays so.

        Args:
            actor: who wants it: named in the audit log even if nothing changes, as where it is wanted already; None for the
                service itself.
        """
        which = (AT.id == id) & AT.outcome.is_(None) & (AT.wanted != Wanted.CANCELLED)
        if actor is not None:  # else a person who resumes what is running would reset the count of failed launches
            which &= (AT.wanted != wanted) | AT.error.is_not(None)
        return self._change(which, {"wanted": wanted, "error": why and storable(why), "failures": 0}, id, actor)

    # What the service does about it

    def open_ones(self) -> list[Submission]:
        """Return the submissions without an outcome, oldest first."""
        query = select(tables.submissions).where(AT.outcome.is_(None)).order_by(AT.created_ms, AT.id)
        with self._read() as connection:
            return intact_rows(connection, tables.submissions, query, Submission.read)

    def count_open(self, owner: str) -> int:
        """Return the number of an owner's submissions without an outcome."""
        with self._read() as connection:
            return count_open_of(connection, owner)

    def pulse(self, sweep_id: str) -> Pulse:
        """Return what tells that a sweep has changed; cheap enough to ask every second."""
        with self._read() as connection:
            return pulse_of(connection, sweep_id)

    def sweeps_of(self, owner: str) -> set[str]:
        """Return the ids of the sweeps that an owner's submissions ran."""
        with self._read() as connection:
            query = select(AT.sweep_id).where(AT.owner == owner, AT.sweep_id.is_not(None)).distinct()
            return set(connection.scalars(query))

    def count_launch(self, one: Submission, workers: int | None) -> int | None:
        """Record, before it happens, that a process is started for a submission; return the launch's number.

        None if somebody else launched it meanwhile, or it is no longer wanted.
        """
        which = (AT.id == one.id) & (AT.launches == one.launches) & (AT.wanted == Wanted.RUNNING) & AT.outcome.is_(None)
        which &= AT.lease_until_ms == one.lease_until_ms  # else its process has renewed it since
        now = now_ms()
        counts = {"launches": one.launches + 1, "failures": one.failures + 1}
        again = {**counts, "workers": workers, "launched_ms": now, "changed_ms": now}
        with self._write() as connection:
            if not change_rows(connection, tables.submissions, which, again):
                return None
        return one.launches + 1

    def excuse_launch(self, id: str, launch: int, why: str) -> None:
        """Record why a place refused a launch, which may be tried again after a pause; it never leads to giving up."""
        which = (AT.id == id) & (AT.launches == launch) & AT.outcome.is_(None)
        excused = {"launched_ms": None, "changed_ms": now_ms(), "error": storable(why)}
        with self._write() as connection:
            change_rows(
                connection,
                tables.submissions,
                which,
                lambda row: {"failures": max(1, row["failures"] - 1), **excused},
            )

    def give_up(self, one: Submission) -> None:
        """Free the leases of a process that its place says has ended; see :func:`free_leases`."""
        with self._write() as connection:
            free_leases(connection, one)

    def settle(self, id: str, outcome: str, error: str | None = None) -> Submission:
        """Give a submission that no process carries out its outcome, unless it has one."""
        which = (AT.id == id) & AT.outcome.is_(None)
        return self._change(which, {"outcome": outcome, "error": error and storable(error)}, id)

    # What the process does that carries it out

    def take(self, id: str, launch: int) -> Submission:
        """Take the lease of a submission for this process.

        Raises:
            Fenced: it was launched again, another process has it, or it has an outcome.
        """
        here = str(Holder.here())
        with self._write() as connection:
            found = _rows(connection, AT.id == id)
            free = found and found[0].outcome is None and (found[0].holder == here or not found[0].is_held)
            if not free or found[0].launches != launch:
                raise Fenced(f"submission {id}: another process carries it out, or it has ended; this one stops")
            lease = {"holder": here, "lease_until_ms": leases.until_ms(), "launched_ms": None, "changed_ms": now_ms()}
            change_rows(connection, tables.submissions, AT.id == id, lease)
            return _rows(connection, AT.id == id)[0]

    def renew(self, id: str, launch: int, **changes: Any) -> Submission:
        """Renew the lease, write what is given, and return the submission as it is then.

        Raises:
            Fenced: another launch has it.
        """
        held = (AT.id == id) & (AT.launches == launch) & (AT.holder == str(Holder.here()))
        with self._write() as connection:
            if not change_rows(connection, tables.submissions, held, {"lease_until_ms": leases.until_ms(), **changes}):
                raise Fenced(f"submission {id}: another process carries it out; this one stops")
            return _rows(connection, AT.id == id)[0]

    def release(self, id: str, launch: int, **changes: Any) -> None:
        """Give the lease back, with the outcome if there is one, unless another launch has it."""
        held = (AT.id == id) & (AT.launches == launch) & (AT.holder == str(Holder.here()))
        with self._write() as connection:
            freed = {"holder": None, "lease_until_ms": 0, "changed_ms": now_ms(), **changes}
            freed |= {"error": storable(freed["error"])} if freed.get("error") else {}
            change_rows(connection, tables.submissions, held, freed)

    def _change(self, which: Any, how: Mapping[str, Any], id: str, actor: str | None = None) -> Submission:
        with self._write() as connection:
            change_rows(connection, tables.submissions, which, {**how, "changed_ms": now_ms()})
            found = _rows(connection, AT.id == id)
            if found and actor is not None:
                add_audit_row(connection, actor, ACTIONS[how["wanted"]], id, found[0].name)
        return _one(found, id)


def _in_order(connection: Connection, requests: Sequence[SubmissionRequest]) -> Sequence[SubmissionRequest]:
    """The order in which requests are entered: as they came, where there is one writer at a time.

    Elsewhere it is one that all services have in common, or two of them could wait for each other's keys.
    """
    if connection.dialect.name == "sqlite":
        return requests
    return sorted(requests, key=lambda one: (one.owner, one.idempotency or ""))


def _one(found: Sequence[Submission], id: str) -> Submission:
    if not found:
        raise LedgerError(f"submission {id!r}: must be one of this service")
    return found[0]


def _rows(connection: Connection, which: Any) -> Sequence[Submission]:
    return intact_rows(connection, tables.submissions, select(tables.submissions).where(which), Submission.read)

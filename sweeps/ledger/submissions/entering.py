"""Entering requests for sweeps: several in one transaction, as each transaction waits for other writers and for the disk."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, delete, func, select

from sweeps.ledger import tables
from sweeps.ledger.database import LedgerError, upsert
from sweeps.ledger.holding import now_ms
from sweeps.ledger.integrity import intact_rows
from sweeps.ledger.records import encode
from sweeps.ledger.sealing import seal
from sweeps.ledger.submissions.rows import Submission, Wanted
from sweeps.ledger.submissions.tokens import add_audit_row

AT = tables.submissions.c
# Built once: building a statement costs more than executing it.
_OPEN_OF = select(func.count()).where(AT.owner == bindparam("owner"), AT.outcome.is_(None))
_OF_KEY = select(tables.submissions).where(AT.owner == bindparam("owner"), AT.idempotency == bindparam("idempotency"))
_ENTRIES: dict[str, Executable] = {}  # by kind of database


class OtherRequest(LedgerError):
    """The idempotency key was used for another request."""


class TooManyOpen(LedgerError):
    """An owner would have too many submissions without an outcome."""


@dataclass
class SubmissionRequest:
    """A request for a sweep, and once it has been entered its answer.

    Args:
        most_open: how many submissions without an outcome the owner may have; callers take turns to have it kept exactly.
        answer: the submission and whether it is new, or the error that refused it.
    """

    owner: str
    name: str
    spec: Mapping[str, Any]
    options: Mapping[str, Any]
    priority: int = 0
    idempotency: str | None = None
    most_open: int | None = None
    answer: tuple[Submission, bool] | Exception | None = None
    row: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.row = seal(tables.submissions, _new_row(self))

    def result(self) -> tuple[Submission, bool]:
        """Return the submission, and whether it is new.

        Raises:
            LedgerError: it could not be entered.
        """
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def enter(connection: Connection, one: SubmissionRequest) -> None:
    """Enter a request in the caller's transaction, with its line of the audit log; a refused one leaves nothing behind."""
    made = intact_rows(connection, tables.submissions, _entry(connection), Submission.read, one.row)
    if not made:
        asked = {"owner": one.owner, "idempotency": one.idempotency}
        (found,) = intact_rows(connection, tables.submissions, _OF_KEY, Submission.read, asked)
        why = f"idempotency key {one.idempotency!r}: was used for another request (submission {found.id})"
        one.answer = (found, False) if found.body == one.row["body"] else OtherRequest(why)
    elif one.most_open is not None and (open_now := count_open_of(connection, one.owner)) > one.most_open:
        connection.execute(delete(tables.submissions).where(AT.id == made[0].id))
        rule = f"must be at most {one.most_open} without an outcome, got one more than {open_now - 1}"
        one.answer = TooManyOpen(f"submissions: {rule}")
    else:
        add_audit_row(connection, one.owner, "submit", made[0].id, one.name)
        one.answer = made[0], True


def count_open_of(connection: Connection, owner: str) -> int:
    """Return the number of an owner's submissions without an outcome."""
    return connection.scalar(_OPEN_OF, {"owner": owner}) or 0


def _entry(connection: Connection) -> Executable:
    """The insertion of a submission unless its key is known; it returns the new row."""
    name = connection.dialect.name
    if name not in _ENTRIES:
        _ENTRIES[name] = upsert(connection, tables.submissions).on_conflict_do_nothing().returning(tables.submissions)
    return _ENTRIES[name]


def _new_row(one: SubmissionRequest) -> dict[str, Any]:
    request = encode([one.name, one.spec, one.options, one.priority], sort_keys=True)
    now = now_ms()
    return {
        "id": secrets.token_hex(8),
        "owner": one.owner,
        "idempotency": one.idempotency,
        "body": hashlib.sha256(request.encode()).hexdigest(),
        "name": one.name,
        "spec": encode(one.spec, sort_keys=False),
        "options": encode(one.options),
        "priority": one.priority,
        "wanted": Wanted.RUNNING,
        "created_ms": now,
        "changed_ms": now,
    }

"""Tokens: who may ask the service for what; and the audit log of what they did.

A token is ``abel_<id>_<secret>`` with a secret of 256 bits. Only its SHA-256 is kept, so a copy of the ledger holds no token.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection

from sqlalchemy import Connection, bindparam, insert, select

from sweeps.ledger import tables
from sweeps.ledger.database import LedgerError
from sweeps.ledger.driving import Driving
from sweeps.ledger.holding import now_ms
from sweeps.ledger.integrity import intact_rows
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import storable
from sweeps.ledger.sealing import change_rows, check_row, seal
from sweeps.ledger.submissions.rows import AuditRow, Token

SCOPES = ("read", "submit", "admin")  # each includes those before it
FORM = re.compile(r"abel_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
# Made once, as every request needs them.
OF_ID = select(tables.tokens).where(tables.tokens.c.id == bindparam("id"))
AUDITED = insert(tables.audit)
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Tokens(Driving):
    """The tokens in a ledger, and its audit log; every method is one short transaction."""

    @classmethod
    def of(cls, ledger: Ledger) -> "Tokens":
        """Return the tokens of an open ledger, whose connections they share."""
        return cls(ledger._engine)

    def make(self, owner: str, scopes: Collection[str], expires_ms: int | None = None) -> tuple[Token, str]:
        """Make a token; return it, and its text, which is not kept.

        Raises:
            LedgerError: the owner or a scope is invalid.
        """
        if not OWNER.fullmatch(owner):
            raise LedgerError(
                f"owner: must be 1 to 64 letters, digits or ._@- and begin with a letter or digit, got {owner!r}"
            )
        if not scopes or (wrong := [scope for scope in scopes if scope not in SCOPES]):
            raise LedgerError(
                f"scopes: must be some of {', '.join(SCOPES)}, got {', '.join(wrong) if scopes else 'none'}"
            )
        id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        row = {
            "id": id,
            "owner": owner,
            "secret": _hashed(secret),
            "scopes": " ".join(scope for scope in SCOPES if scope in scopes),
            "created_ms": now_ms(),
            "expires_ms": expires_ms,
        }
        with self._write() as connection:
            connection.execute(insert(tables.tokens).values(seal(tables.tokens, row)))
        return next(one for one in self.all() if one.id == id), f"abel_{id}_{secret}"

    def all(self) -> list[Token]:
        """Return every token, oldest first."""
        query = select(tables.tokens).order_by(tables.tokens.c.created_ms, tables.tokens.c.id)
        with self._read() as connection:
            return intact_rows(connection, tables.tokens, query, Token.read)

    def known(self, text: str) -> Token | None:
        """Return the token with this text, even if it has expired or was revoked; None if no token has it."""
        match = FORM.fullmatch(text)
        if match is None:
            return None
        id, secret = match.groups()
        with self._read() as connection:
            row = connection.execute(OF_ID, {"id": id}).mappings().one_or_none()
            if row is not None:
                check_row(tables.tokens, row)
        # An unknown id costs the same comparison as a wrong secret, so the time an answer takes tells nothing.
        kept = row["secret"] if row is not None else _hashed("")
        if not hmac.compare_digest(kept, _hashed(secret)) or row is None:
            return None
        return Token.read(row)

    def stands(self, token: Token) -> bool:
        """Whether a token may still be used."""
        with self._read() as connection:
            found = intact_rows(connection, tables.tokens, OF_ID, Token.read, {"id": token.id})
        return any(one.is_valid for one in found)

    def revoke(self, id: str) -> None:
        """Revoke a token; one that is revoked stays so.

        Raises:
            LedgerError: no token has this id.
        """
        at = tables.tokens.c
        with self._write() as connection:
            if connection.scalar(select(at.id).where(at.id == id)) is None:
                raise LedgerError(f"token {id!r}: must be one of this ledger")
            change_rows(connection, tables.tokens, (at.id == id) & at.revoked_ms.is_(None), {"revoked_ms": now_ms()})

    def note(self, actor: str, action: str, target: str, detail: str = "") -> None:
        """Add an entry to the audit log."""
        with self._write() as connection:
            add_audit_row(connection, actor, action, target, detail)

    def audit(self, limit: int = 100) -> list[AuditRow]:
        """Return the last entries of the audit log, newest first."""
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit)
        with self._read() as connection:
            return intact_rows(connection, tables.audit, query, AuditRow.read)


def add_audit_row(connection: Connection, actor: str, action: str, target: str, detail: str = "") -> None:
    """Add an entry to the audit log, in the transaction of what it tells."""
    row = {"at_ms": now_ms(), "actor": actor, "action": action, "target": target, "detail": storable(detail)}
    connection.execute(AUDITED, seal(tables.audit, row))


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

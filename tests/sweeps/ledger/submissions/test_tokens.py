"""Tokens: shown once, kept as a digest, expiring and revocable."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from sweeps.ledger.database import LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.tokens import Tokens


@pytest.fixture
def tokens(database: str) -> Iterator[Tokens]:
    ledger = Ledger.open(database)
    yield Tokens.of(ledger)
    ledger.close()


@pytest.mark.databases
def test_a_token_is_known_by_its_text_and_no_column_holds_the_secret(tokens: Tokens) -> None:
    token, shown = tokens.make("ada", ["submit", "read"], 5)
    assert (token.owner, token.scopes, token.expires_ms) == ("ada", ("read", "submit"), 5)
    assert tokens.known(shown) == token
    with tokens._engine.connect() as connection:
        kept = str(connection.execute(text("SELECT * FROM tokens")).all())
    assert shown.split("_", 2)[2] not in kept
    assert shown not in kept


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "abel_",
        "abel_000000000000_" + "a" * 43,
        "{}x",
        "{} ",
        "x{}",
        "abel_é",
        "Bearer {}",
        "\0",
        "abel_" + "9" * 5000,
    ],
)
def test_other_texts_are_nobodys(tokens: Tokens, wrong: str) -> None:
    _, shown = tokens.make("ada", ["read"])
    assert tokens.known(wrong.format(shown)) is None
    id, _, secret = shown.removeprefix("abel_").partition("_")
    assert tokens.known(f"abel_{id}_{secret[::-1]}") is None


def test_a_revoked_token_stays_revoked_and_an_unknown_one_cannot_be(tokens: Tokens) -> None:
    token, shown = tokens.make("ada", ["read"])
    tokens.revoke(token.id)
    first = tokens.known(shown).revoked_ms
    tokens.revoke(token.id)
    assert tokens.known(shown).revoked_ms == first
    with pytest.raises(LedgerError, match="must be one of this ledger"):
        tokens.revoke("nobody")


@pytest.mark.parametrize("owner", ["", "a b", "../x", "é", "a" * 65, "a\n"])
def test_an_owner_has_a_plain_name(tokens: Tokens, owner: str) -> None:
    with pytest.raises(LedgerError, match="owner: must be"):
        tokens.make(owner, ["read"])


def test_scopes_are_known_ones(tokens: Tokens) -> None:
    with pytest.raises(LedgerError, match="must be some of read, submit, admin, got root"):
        tokens.make("ada", ["read", "root"])
    with pytest.raises(LedgerError, match="got none"):
        tokens.make("ada", [])


def test_the_audit_log_keeps_its_order(tokens: Tokens) -> None:
    for action in ("submit", "pause"):
        tokens.note("ada", action, "3f9c")
    assert [(one.actor, one.action) for one in tokens.audit()] == [("ada", "pause"), ("ada", "submit")]
    assert len(tokens.audit(1)) == 1

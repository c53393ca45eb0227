"""An empty ledger for tests of the service's loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def queue(ledger: Ledger) -> Submissions:
    return Submissions.of(ledger)

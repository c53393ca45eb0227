from collections.abc import Iterator

import pytest
from desks import Api, desk_over

from services.settings import Settings
from sweeps.ledger.ledger import Ledger


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service over a ledger of its own, for the tests of a module."""
    home = tmp_path_factory.mktemp("service")
    ledger = Ledger.open(Settings.from_env({"ABEL_HOME": str(home)}).prepare().ledger_url)
    with desk_over(ledger, home) as made:
        yield made
    ledger.close()

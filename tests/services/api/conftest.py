from collections.abc import Iterator

import pytest
from desks import Api, NoJobs, serving

from services.api.app import build
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service over a ledger of its own, for the tests of a module."""
    home = tmp_path_factory.mktemp("service")
    settings = Settings.from_env({"ABEL_HOME": str(home)})
    ledger, jobs = Ledger.open(settings.prepare().ledger_url), NoJobs()
    app = build(settings, ledger, jobs, hosts=("127.0.0.1",))
    with serving(app) as url:
        yield Api(url, ledger, Tokens.of(ledger), Submissions.of(ledger), jobs)
    ledger.close()

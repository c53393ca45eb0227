"""The process that draws a report: ``python -m services.server.drawing SUBMISSION FOLDER``, both made by the service.

What a report says of its sweep, such as the title and the claims, is in the submission's own spec: another owner may have
described the same sweep in other words.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from services import ledgers
from services.refusals import INPUT_ERRORS, MACHINE_ERRORS
from services.settings import Settings
from services.verbs import report
from sweeps.ledger.submissions.queue import Submissions


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw one report; return the exit code."""
    id, folder = arguments or sys.argv[1:]
    settings = Settings.from_env()
    settings.lend_home()
    try:
        with ledgers.opened(settings) as ledger:
            one = Submissions.of(ledger).submission(id)
        assert one.sweep_id is not None
        report.report(settings, [one.sweep_id], Path(folder), ui_url=settings.mlflow_url, spec=one.spec)
    except (*INPUT_ERRORS, *MACHINE_ERRORS) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

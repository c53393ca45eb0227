"""Grids of trials: their specs, cost forecasts, training, ledger and results.

    spec ─expand→ trials ─forecast→ cost
                    └──────run────→ ledger ─load→ results

A subpackage may import only those listed before it: spec, ledger, processes, run, forecast, results.

Every user error in a spec raises a `SpecError`, which lists all faults before anything starts:

    ValueError
    └── SpecError    a spec that cannot be read or cannot be run
"""

import os

# Ray reads this on import. By default it prints news of raylets and workers to standard output, where it would corrupt
# JSON output; the ledger records such news as incidents.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")

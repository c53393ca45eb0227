"""Grids of trials: what a sweep asks for, what it will cost, what has been trained, and who trains the rest.

    spec ─expand→ trials ─forecast→ cost
                    └──────run────→ ledger ─load→ results

A room may import those above it: spec, ledger, processes, run, forecast, results.

Every fault that a user can cause is a `SpecError`, which lists all of them before anything starts:

    ValueError
    └── SpecError    a spec that cannot be read or asks for what cannot be done
"""

import os

# Ray reads this when it is imported. Left alone it prints on standard output, where JSON may be asked for, what happens to
# raylets and workers; those who want to know find it as incidents in the ledger.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")

"""MLflow: the ledger's sweeps as runs in a tracking store, kept up to date by a single writer."""

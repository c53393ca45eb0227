"""MLflow: the ledger's sweeps as runs of a tracking store, kept up to date by one writer."""

"""Trains cohorts: tasks, models, data and optimisers. Knows nothing of Ray, MLflow or the ledger."""

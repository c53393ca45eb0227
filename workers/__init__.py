"""Training of cohorts: tasks, models, data and optimisers. Independent of Ray, MLflow and the ledger."""

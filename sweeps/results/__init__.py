"""From the ledger to verdicts: frames, measures, comparisons and claims. Knows neither MLflow nor rendering.

measures, confidence    how much a result depends on hyperparameters, with intervals over seeds
comparison, axes        arms against each other, and along their grids
noninferiority, power   the gate's rule, and how many seeds it needs
baseline                results that are kept beside the code
claims                  what the paper says, and whether it holds here
"""

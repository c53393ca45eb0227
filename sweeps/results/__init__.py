"""From the ledger to verdicts: frames, measures, comparisons and claims. Independent of MLflow and rendering.

measures, confidence    how much a result depends on hyperparameters, with intervals over seeds
comparison, axes        arms compared with each other, and along their grids
noninferiority, power   the gate's rule, and the number of seeds it needs
baseline                results stored next to the code
claims                  the paper's claims, and whether they hold here
"""

"""Several sweeps as one study: each sweep is a workload, and the field's measures of tuning are taken over all of them.

arms                                        one arm in one workload, and which of its measures exist
tunability, rate_sensitivity, tuning_curves what tuning gains, what the learning rate costs, what random search finds
scores, across, aggregates                  scores that workloads share, and measures over them
study                                       all of it
"""

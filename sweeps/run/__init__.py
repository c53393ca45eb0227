"""Trains a sweep through Ray Tune: the driver hands out cohorts, workers train them, records go to the ledger.

driver, driver_process    Ray's side; searcher gives Tune what is ready; trainable is a worker's side
frontier                  which cohorts are ready, and what their reports mean; Ray-free
halving                   which settings train on
losses, failures, retrying    what went wrong, whose fault it is, and whether to try again
"""

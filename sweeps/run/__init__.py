"""Training of a sweep through Ray Tune: the driver hands out cohorts, workers train them, records go to the ledger.

driver, driver_process    the driver; searcher gives Tune the ready cohorts; trainable is the worker
frontier                  which cohorts are ready; report_handler: what their reports mean; Ray-free
halving                   which settings continue at a rung
losses, failures          lost workers; classes of failures, and the retry policy of each
announcing                the reports of progress to the command
"""

"""The user-facing layer: the command line, tracking and reports.

cli         the ``abel`` command: thin wrappers around the verbs
verbs       what the commands do; verbs.running drives a sweep to its outcome
report      figures and the HTML page
tracking    the only writer to MLflow
settings    settings from the environment
ledgers     opens the ledger of an ABEL_HOME for a verb
schemas     arguments and results of the verbs
errors      exceptions of the verbs
streams     the only place for output
"""

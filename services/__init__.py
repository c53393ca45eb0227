"""What people and scripts use: the command line, the tracking store and the reports.

cli         the command ``abel``: thin skins over the verbs
verbs       what the commands do; verbs.running drives a sweep until its outcome stands
report      figures and page
tracking    the one writer to MLflow
settings    everything from the environment
ledgers     the ledger of a home, opened for a verb
schemas     what the verbs take and return
errors      what they raise
streams     the one place for output
"""

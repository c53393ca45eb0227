"""What people and scripts use: the command line, the tracking store and the reports.

cli          the command ``abel``: thin skins over the verbs, drawn by rendering and progress
operations   the verbs; execution is the verb ``run``, datasets the verbs of ``abel data``
attempts     drives a sweep until its outcome stands: waits, and replaces a driver that is lost
serving      MLflow's server in the foreground
preflight    what must hold before a sweep starts
forecasts    what a sweep will cost here: epochs, and time from what was measured
storage      what of the checkpoints' room can be given back
standing     where sweeps stand; summary reduces trials to arms, news puts events in words
projector    starts tracking, the one writer to MLflow, as a process beside a run
report       figures and page, from runs, the one reader of MLflow
settings     everything from the environment
schemas      what the verbs take and return
errors       what they raise
"""

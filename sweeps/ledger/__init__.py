"""The one truth about sweeps: every trial, state, checkpoint and event, in SQLite or PostgreSQL.

ledger       the writes; queries the reads; records what both hand out
tables       what the database holds; migrations bring older ones up to date
sealing      a digest for each row; soundness checks what must hold between rows
leases       who may write for a sweep
mending      what `abel repair` restores; copies make `abel backup`
retention    which checkpoints are still worth their room
"""

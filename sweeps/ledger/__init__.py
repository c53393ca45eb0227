"""The source of truth about sweeps: every trial, state, checkpoint and event, in SQLite or PostgreSQL.

ledger       writes; queries has the reads, records the rows that both return
tables       the schema; migrations upgrade older ledgers
sealing      a digest for each row; integrity checks consistency between rows
leases       exclusive write access to a sweep
repair       `abel repair`; copies has `abel backup`
retention    which checkpoints to keep
"""

"""What a user writes, and the trials that come of it.

    yaml ─> models ─> sweep ─expansion─> arms, grid, programs, schedules ─> trials

Documents are decoded by pydantic (`shapes`), and what it refuses is put in a user's words (`refusals`).

Every fault of a spec is reported in one :class:`~sweeps.errors.SpecError`, before anything starts.
"""

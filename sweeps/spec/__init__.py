"""What a user writes, and the trials that come of it.

    yaml ─> decoding, models ─> sweep ─expansion─> trials

Every fault of a spec is reported in one :class:`~sweeps.errors.SpecError`, before anything starts.
"""

"""Specs and their expansion into trials.

    yaml ─> sections ─> sweep ─expansion─> arms, grid, programs, schedules ─> trials

pydantic decodes the documents (`shapes`), and its errors are reworded for users (`refusals`).

All faults of a spec are reported in one :class:`~sweeps.errors.SpecError`, before anything starts.
"""

"""A running sweep: one driver after another, and the waits in between."""

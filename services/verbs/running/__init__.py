"""A sweep under way: attempts at it, one driver after the other, and what is waited for in between."""

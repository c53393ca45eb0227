"""Optimisers: optax update rules whose numbers are arguments of the compiled epoch, one module each."""

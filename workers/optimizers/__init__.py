"""Optimisers: optax update rules whose numbers are arguments of the compiled epoch, one module each.

They import optax only when a rule is built: a spec is read without it.
"""

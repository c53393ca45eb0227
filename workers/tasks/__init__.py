"""Kinds of training: `classify`, trained by `classification`, with compiled functions in `compiled` and the norm's in `equation`.

A task imports JAX when it is bound to its data: a spec is read without it.
"""

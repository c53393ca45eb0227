"""Architectures, one per file: frozen dataclasses whose `build` returns the module of the same name in `workers.networks`.

They import neither JAX nor Flax, which take longer to import than a spec takes to read.
"""

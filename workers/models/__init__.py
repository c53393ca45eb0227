"""Architectures, one per file: frozen dataclasses whose `build` returns a Flax NNX module."""

"""Architectures, one per file: frozen dataclasses whose `build` makes a Flax NNX module."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def lightly_optimised() -> Iterator[None]:
    """Most of the time goes to XLA, which then needs half of it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # other tests run what is compiled as usual

"""The rate of a large matrix product in JAX and PyTorch, in bfloat16, TF32 and float32: prints one line of JSON.

Operands are random, because products of zeros take less power and run faster. The best of several timings counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

PRECISIONS = ("bfloat16", "tf32", "float32")
PRODUCTS = 10  # in a timing, one after another


def of_jax(side: int, precision: str) -> Callable[[], Any]:
    """Return a function that computes the products; each depends on the one before."""
    import jax
    import jax.numpy as jnp

    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (side, side), dtype) / side**0.5 for key in keys)
    exact = jax.lax.Precision.HIGHEST if precision == "float32" else jax.lax.Precision.DEFAULT
    product = jax.jit(lambda one, other: jnp.matmul(one, other, precision=exact))

    def run() -> None:
        result = left
        for _ in range(PRODUCTS):
            result = product(result, right)
        result.block_until_ready()

    return run


def of_torch(side: int, precision: str, device: str) -> Callable[[], Any]:
    """Return a function that computes the products; each depends on the one before."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(side, side, dtype=dtype, device=device) / side**0.5 for _ in range(2))

    def run() -> None:
        result = left
        for _ in range(PRODUCTS):
            result = result @ right
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def tera_flops(run: Callable[[], Any], side: int, timings: int) -> float:
    """Return 10^12 operations per second, of the fastest timing after one that is not counted."""
    run()
    seconds = []
    for _ in range(timings):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 * PRODUCTS / min(seconds) / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    device = parser.parse_args().device
    side, timings = (16384, 5) if device == "gpu" else (256, 3)
    precisions = PRECISIONS if device == "gpu" else ("float32",)
    found = {
        precision: {
            "jax": tera_flops(of_jax(side, precision), side, timings),
            "pytorch": tera_flops(of_torch(side, precision, "cuda" if device == "gpu" else "cpu"), side, timings),
        }
        for precision in precisions
    }
    print(json.dumps({"side": side, "tera_flops": found}))


if __name__ == "__main__":
    main()

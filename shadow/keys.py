"""Named streams of random numbers: every draw is a pure function of (seed, stream name, indices).

No key and no generator is ever stored or carried along, so a resumed run repeats its draws without any state.
"""

from __future__ import annotations

import hashlib

import jax
import numpy as np


def _stream_hash(name: str) -> int:
    """First 32 bits of the SHA-256 of `name`: stable across Python versions, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def key(seed: int, stream: str, *indices: int | jax.Array) -> jax.Array:
    """A typed JAX key for draw `indices` of `stream`. Traceable: an index may be a traced integer."""
    result = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _stream_hash(stream))
    for index in indices:
        result = jax.random.fold_in(result, index)
    return result


def generator(seed: int, stream: str, *indices: int | str) -> np.random.Generator:
    """A NumPy generator for draw `indices` of `stream`; an index may be a name (an image id, say).

    A stream has a fixed number of indices: NumPy's seeding cannot tell no index from an index 0 at the end.
    """
    words = [index if isinstance(index, int) else _stream_hash(index) for index in indices]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _stream_hash(stream), *words])))

"""Proxies of a few weights are trained in seconds where their programs are hardly optimised (as in tests/shadow)."""

import jax

jax.config.update("jax_disable_most_optimizations", True)

"""Tests compile the same small functions many times: compiled once a session, and not optimised much."""

import tempfile

import jax

_CACHE = tempfile.TemporaryDirectory()  # removed when the process ends
jax.config.update("jax_compilation_cache_dir", _CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_disable_most_optimizations", True)

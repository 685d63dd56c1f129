"""Measurements: `python -m surgrec_jax.bench NAME`, see `__main__`."""

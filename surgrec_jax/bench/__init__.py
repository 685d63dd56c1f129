"""Measurements: `python -m surgrec_jax.bench loader|sampler|step`."""

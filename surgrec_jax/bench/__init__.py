"""Measurements: `python -m surgrec_jax.bench builder|convert|loader|sampler|step`."""

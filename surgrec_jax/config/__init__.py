"""Configs: their files, their values by type and name, what is made of them, and a run's own."""

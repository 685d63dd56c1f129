"""Phantom surgery: a procedural corpus of surgical video, drawn from a seed."""

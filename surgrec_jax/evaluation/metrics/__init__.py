"""Scores and their intervals over cases."""

"""Trained models as functions: clips in, features or class probabilities out."""

"""Ahead-of-time compilation of the training step for devices that this machine has not."""

"""Heads on frozen features: linear, nearest neighbours, attentive, temporal."""

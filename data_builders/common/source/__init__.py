"""The base class of all builders: videos, cases, splits, downloads."""

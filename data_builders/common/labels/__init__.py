"""Annotation files and tables, and the label tracks that are read from them."""

"""Prepared data sets: the schema of a record, where data sets lie, how they are read."""

"""Prepared data sets: the schema of a record, the folders of data sets, their readers."""

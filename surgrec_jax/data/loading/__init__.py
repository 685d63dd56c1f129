"""Batches of records: decoding, crops, augmentation, loaders, bad records."""

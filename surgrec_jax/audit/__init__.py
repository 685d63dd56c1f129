"""Facts about data sets and their splits: overlaps, duplicates, published faults."""

"""The parts that all builders share: records, video reading, labels, splits, the parallel build."""

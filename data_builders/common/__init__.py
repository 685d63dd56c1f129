"""What all builders share: records, video reading, label tracks, splits, the parallel build."""

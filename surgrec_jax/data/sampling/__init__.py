"""The order of training: shares of sources and leaves, draws, permutations, the manifest."""

"""From an encoder to arrays: clips, pooled features, their cache, baselines."""

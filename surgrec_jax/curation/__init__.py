"""A balanced corpus by clip embeddings; see docs/curation.md."""

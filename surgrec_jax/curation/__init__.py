"""From clip embeddings to a balanced corpus; see docs/curation.md."""

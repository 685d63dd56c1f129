"""The parallel build: jobs, shards, the process that decodes, the summary."""

"""HTML pages of results and runs."""

"""The table of encoders and tasks: cells, columns, results."""

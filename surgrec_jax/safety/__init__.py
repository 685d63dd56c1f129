"""What every room may use to meet the world outside; it imports nothing of the project."""

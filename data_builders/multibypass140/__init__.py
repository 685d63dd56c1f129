"""MultiBypass140: 140 gastric bypasses of two hospitals with phases and steps."""

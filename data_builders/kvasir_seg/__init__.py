"""Kvasir-SEG: 1,000 pictures of polyps with their outlines filled."""

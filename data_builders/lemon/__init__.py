"""LEMON / Surg-3M: surgery on YouTube with procedures."""

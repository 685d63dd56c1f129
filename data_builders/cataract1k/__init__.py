"""Cataract-1K: phases of cataract surgery."""

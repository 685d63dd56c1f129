"""Cataract-21: phases of cataract surgery."""

"""cataract-101: phases of cataract surgery."""

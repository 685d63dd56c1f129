"""EgoSurgery: open surgery from the surgeon's head, nine phases, boxes of tools and hands."""

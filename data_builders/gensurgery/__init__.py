"""GenSurgery (GSViT): pictures of surgery on YouTube."""

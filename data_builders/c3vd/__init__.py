"""C3VD: a colonoscope in phantom colons, the depth of every pixel known."""

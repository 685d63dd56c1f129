"""EndoVis 2018: robotic kidney operations on pigs, every pixel of 12 classes."""

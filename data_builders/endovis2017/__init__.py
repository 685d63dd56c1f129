"""EndoVis 2017: robotic operations on pigs, every pixel of an instrument's type and part."""

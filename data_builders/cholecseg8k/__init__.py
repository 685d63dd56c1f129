"""CholecSeg8k: 101 clips of 80 frames of Cholec80, every pixel of 13 classes."""

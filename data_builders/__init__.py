"""TFDS data sets of surgical video: one folder per source, shared code in common/."""

import os

# OpenCV reads this when it is loaded: a PNG of 30,000 x 30,000 pixels is a few kilobytes long.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64 * 2**20))

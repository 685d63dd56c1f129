"""TFDS data sets of surgical video: one folder per source, shared code in common/."""

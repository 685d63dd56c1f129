"""OphNet2024: 743 operations on the eye with the times of 52 phases."""

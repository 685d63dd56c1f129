"""PitVis: 25 endoscopic pituitary operations with steps and instruments."""

"""GraSP: 13 robot-assisted prostatectomies with phases, steps and outlined instruments."""

"""GraSP: 13 robot-assisted prostatectomies with phases and steps."""

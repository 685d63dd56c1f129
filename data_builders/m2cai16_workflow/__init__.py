"""M2CAI16-Workflow: 41 cholecystectomies from two hospitals with eight phases."""

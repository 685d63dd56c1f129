"""HeiChole: 24 cholecystectomies of three hospitals with phases, instruments and actions."""

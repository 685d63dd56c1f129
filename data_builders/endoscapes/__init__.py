"""Endoscapes2023: cholecystectomies before the first clip, the critical view of safety."""

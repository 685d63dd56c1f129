"""Cholec80: 80 cholecystectomies with seven phases and the presence of seven tools."""

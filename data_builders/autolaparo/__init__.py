"""AutoLaparo, task 1: 21 hysterectomies with seven phases."""

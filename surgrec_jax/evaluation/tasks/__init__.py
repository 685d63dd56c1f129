"""The questions of the benchmark: tasks, their lists, labelled features."""

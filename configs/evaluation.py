"""The values that configs/probe.py and configs/benchmark.py share."""

from ml_collections import ConfigDict


def evaluation() -> ConfigDict:
    """How encoders are compared; lists are written with commas on the command line."""
    config = ConfigDict()
    config.out = ""  # folder of cells/, features/ and the results
    config.data_dir = "data"
    config.protocol = "v2"  # v2, v1 (as published, faults included), few-shot, fine-tune
    config.folds = 0  # over cases, for small sets: every case is tested once; 0: the splits
    config.tasks = "all"  # by name, with commas; see surgrec_jax/evaluation/tasks/task_list.py
    config.clip = ""  # FRAMESxSIDE@FPS that every encoder must take; empty = each its own
    config.resize = ""  # interpolate or extend: positions of encoders of another clip; "" = refuse
    config.clips_per_record = 2  # evenly spaced over the stored segment; 0: all that have a label
    config.crops = 1  # squares along the long side of every clip; 3 is VideoMAE's test

    config.heads = "linear,knn"  # see surgrec_jax/evaluation/heads/registry.py; the first one leads
    config.map_heads = "dense_linear"  # of label maps; also dense_conv and dense_levels
    config.map_side = 112  # rows and columns of the square that maps are trained and scored at
    config.maps_per_record = 8  # evenly spaced frames that have one; 0 for all
    config.seeds = 3  # probe seeds: which training cases are drawn, initial values
    config.init_seeds = 2  # random-initialised encoders of the same shape
    config.train_resample = "cases"  # what a seed draws: cases, clips (one per record), none
    config.resamples = 2000  # bootstrap draws of test cases
    config.level = 0.95  # coverage of the intervals
    return config

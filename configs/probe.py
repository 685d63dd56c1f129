"""Probing frozen encoders on held-out cases.

    python -m surgrec_jax.probe --config=configs/probe.py --config.checkpoint=runs/mae
    python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.names=MAE,JEPA \
        --config.checkpoint=runs/mae_tiny,runs/jepa_tiny --config.out=runs/probe

Variants: "default" asks the ten-hour phantom corpus, "tiny" that of the quickstart.

Prints one table and writes results.json and predictions.npz into --config.out. On two CPU cores a
tiny encoder takes about a minute; most of it is decoding.
"""

import ml_collections

VARIANTS = ("default", "tiny")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The config of a variant; lists are written with commas on the command line."""
    if variant not in VARIANTS:
        raise ValueError(f"configs/probe.py has no variant {variant!r}: choose from {VARIANTS}")
    config = ml_collections.ConfigDict()
    config.checkpoint = ""  # workdirs or checkpoint steps, with commas
    config.names = ""  # columns of the table, with commas; empty = the checkpoints' own names
    config.out = ""  # folder of the results; empty = <workdir of the first checkpoint>/probe

    config.source = f"phantom_surgery/{variant}"  # a data set, or name/config
    config.data_dir = "data"
    config.tasks = "all"  # with commas; see surgrec_jax/evaluation/task_list.py
    config.task = ""  # one task; instead of tasks
    config.protocol = "v2"  # v2, v1 (as published, faults included), few-shot, fine-tune
    config.clip = ""  # FRAMESxSIDE@FPS that every encoder must take; empty = each its own
    config.clips_per_record = 2  # evenly spaced over the stored segment
    config.crops = 1  # squares along the long side of every clip; 3 is VideoMAE's test

    config.heads = "linear,knn"  # see surgrec_jax/evaluation/heads.py; the first one leads
    config.seeds = 3  # probe seeds: which training cases are drawn, initial values
    config.init_seeds = 2  # random-initialised encoders of the same shape
    config.train_resample = "cases"  # what a seed draws: cases, clips (one per record), none
    config.resamples = 2000  # bootstrap draws of test cases
    config.level = 0.95  # coverage of the intervals

    config.cache = True  # keep features in <out>/features
    return config

"""Probing frozen encoders on held-out cases of one data set.

    python -m surgrec_jax.probe --config=configs/probe.py --config.checkpoint=runs/mae
    python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.out=runs/probe \
        --config.checkpoint=MAE=runs/mae_tiny,JEPA=runs/jepa_tiny

Variants: "default"; "tiny" is the same, for commands that have it beside other :tiny configs.

Prints one table and writes results.json and predictions.npz into --config.out, by default
<workdir of the first checkpoint>/probe. On two CPU cores a tiny encoder takes about a minute; most
of it is decoding. The same command goes on where it was stopped.
"""

from ml_collections import ConfigDict

from configs.evaluation import evaluation

VARIANTS = ("default", "tiny")


def get_config(variant: str = "default") -> ConfigDict:
    """The config of a variant; lists are written with commas on the command line."""
    config = evaluation()  # values that the benchmark has too
    config.checkpoint = ""  # WORKDIR or NAME=WORKDIR (or a checkpoint step), with commas
    config.source = ""  # a data set, or name/config; "": the one that the checkpoint was trained on
    config.task = ""  # one task; instead of tasks
    config.cache = True  # keep features in <out>/features
    config.keep_heads = False  # heads and calibrations as files, for surgrec_jax.predict
    return config

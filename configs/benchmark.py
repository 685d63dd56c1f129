"""Models x tasks, resumable cell by cell.

    python -m surgrec_jax.benchmark --config=configs/benchmark.py \
        --config.checkpoints=MAE=runs/mae,JEPA=runs/jepa --config.data_dir=DATA
    python -m surgrec_jax.benchmark --config=configs/benchmark.py:tiny --config.out=runs/benchmark \
        --config.checkpoints=MAE=runs/mae_tiny,JEPA=runs/jepa_tiny

Variants: "default" asks the sixteen sets of the benchmark (those that are not prepared are listed
as missing), "tiny" the phantom corpus of the quickstart, in about two minutes on two CPU cores.

Ends in results.json, results.md and index.html in --config.out. The same command goes on where it
was stopped; a cell is computed again only if what it depends on has changed.
"""

import ml_collections

VARIANTS = ("default", "tiny")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The config of a variant; lists are written with commas on the command line."""
    if variant not in VARIANTS:
        raise ValueError(f"configs/benchmark.py has no variant {variant!r}: choose from {VARIANTS}")
    config = ml_collections.ConfigDict()
    config.checkpoints = ""  # NAME=WORKDIR or just WORKDIR (or a checkpoint step), with commas
    config.out = "runs/benchmark"  # cells/, features/, results.json, results.md, index.html

    config.protocol = "v2"  # v2, v1 (as published, faults included), few-shot, fine-tune
    config.finetune = "configs/finetune.py"  # how protocol fine-tune trains; or ...py:tiny
    config.sources = "sixteen"  # data sets as name or name/config; sixteen = those of the benchmark
    config.data_dir = "data"
    config.tasks = "all"  # of every source, by name; see surgrec_jax/evaluation/task_list.py
    config.clip = ""  # FRAMESxSIDE@FPS that every encoder must take; empty = each its own

    config.heads = "linear,knn"  # see surgrec_jax/evaluation/heads.py; the first one leads
    config.clips_per_record = 2  # evenly spaced over the stored segment
    config.crops = 1  # squares along the long side of every clip
    config.seeds = 3  # probe seeds: which training cases are drawn, initial values
    config.init_seeds = 2  # random-initialised encoders of the same shape
    config.train_resample = "cases"  # what a seed draws: cases, clips (one per record), none
    config.resamples = 2000  # bootstrap draws of test cases
    config.level = 0.95  # coverage of the intervals
    config.frames_in_report = True  # pictures of the hardest cases; False for gated data

    config.vlm = ml_collections.ConfigDict()
    config.vlm.name = ""  # column of a vision-language model; empty = none
    config.vlm.endpoint = ""  # an OpenAI-compatible address, e.g. http://localhost:8000/v1
    config.vlm.model = ""  # the model's name there
    config.vlm.key_env = ""  # environment variable that holds the key; empty = no key is sent
    config.vlm.answers = ""  # folder of saved answers; with an endpoint, answers are added to it
    config.vlm.frames = 4  # of every clip, evenly spaced
    config.vlm.side = 336  # largest side of the pictures that are sent, in pixels
    config.vlm.phrasings = 3  # of every question
    config.vlm.max_units = 0  # clips asked per task, chosen over all cases; 0 = all
    config.vlm.timeout_s = 60.0  # of a request

    if variant == "tiny":
        config.sources = "phantom_surgery/tiny"
        config.finetune = "configs/finetune.py:tiny"
    return config

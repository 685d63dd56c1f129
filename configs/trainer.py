"""Settings of every training config: seed, logs, checkpoints, probes, pictures, devices, loading.

`configs/mae.py` and its neighbours call `trainer`, then say what makes their recipe. All values can
be changed on the command line like the recipe's own.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def trainer(objective: str, variant: str) -> ConfigDict:
    """The values that recipes share; model, objective and most of optim and data are theirs.

    Args:
        objective: name of the objective.
        variant: name of the config's variant, which is part of the run's name.
    """
    c = ConfigDict()
    c.objective = objective
    c.name = variant
    c.seed = 0
    c.accum_steps = 1  # microbatches per step; raise it where a batch does not fit in memory
    c.stop_after = placeholder(int)  # stop at this step, as if the run were interrupted there
    c.init_from = ""  # a workdir or checkpoint to take the parameters from, "" for a fresh start
    # As init_from, with the optimizer and the step too: a new run with other data, steps or rates.
    c.continue_from = ""
    # Positions for another clip than the checkpoint's are interpolated, or their range extended.
    c.init_resize = ""  # "": refused; with model.preset=checkpoint

    c.model = ConfigDict()
    c.optim = ConfigDict()
    c.optim.schedule = "cosine"
    c.optim.start_lr = 0.0
    c.optim.weight_decay = 0.05
    c.optim.end_weight_decay = 0.05
    c.optim.b1 = 0.9
    c.optim.clip_norm = 0.0  # 0: none
    c.optim.clip_per_module = False

    c.data = ConfigDict()
    # name[/config][@split][=weight], with commas; "": those of the workdir, or of the checkpoint in
    # init_from or continue_from; where neither is named, phantom surgery (drawn, not clinical).
    c.data.sources = ""
    c.data.data_dir = "data"
    c.data.temperature = 0.5  # sources without weights are drawn as records ** temperature
    c.data.manifest = ""  # a file of surgrec_jax.curation: what is drawn how often; "" for none
    c.data.allow_changed = False  # go on although a data set was rebuilt since the last checkpoint
    c.data.flip = False
    c.data.repeats = 1  # crops per decoded record (VideoMAE v2's repeated augmentation)
    c.data.num_threads = 16  # loader threads per process
    c.data.num_workers = 0  # loader processes per process; threads alone are enough on most hosts
    # Records that cannot be used are replaced and listed in bad_records.jsonl, up to this share of
    # a source (rounded up); 0: the first one stops the run.
    c.data.max_bad_share = 0.01
    c.data.timeout_s = 600.0  # how long storage may fail or hang before the run stops

    c.compute = ConfigDict()
    c.compute.dtype = "auto"  # bfloat16 on accelerators, float32 on the CPU
    c.compute.attention = "auto"  # einsum, chunked (CPU), cudnn (GPU), splash (TPU)
    c.compute.remat = "dots"  # none, dots, full, names:..., offload:... (docs/scaling.md)
    c.compute.unroll = 1  # layers per scan iteration; the depth: less memory traffic on a GPU
    c.mesh = ConfigDict()
    c.mesh.fsdp = 1  # devices that share one copy of the state; -1 for all

    c.log_every = 20
    c.profile_steps = ""  # "100:105": a profiler trace of steps 100 to 104, in <workdir>/profile
    c.max_nonfinite = 0  # steps in a row that may break and be skipped; one more stops the run
    c.checkpoint = ConfigDict()
    c.checkpoint.every = 1000
    c.checkpoint.keep = 2
    c.checkpoint.keep_best = 1  # by the mean of the online probes
    c.checkpoint.max_failures = 3  # saves in a row that may fail; one more stops the run
    c.probe = ConfigDict()
    c.probe.every = 5000  # 0: never
    c.probe.sources = ""  # labelled sources, as in data.sources; "": those of data.sources
    c.images = ConfigDict()
    c.images.every = 5000  # 0: never
    c.images.clips = 4
    return c


def pretraining(objective: str, variant: str) -> ConfigDict:
    """`trainer` with the sizes of a model that is built anew, and probes of its features."""
    c = trainer(objective, variant)
    # Ti, S, B, L, H, g; the four sizes below override it. checkpoint: as in init_from.
    c.model.preset = "B"
    c.model.width = placeholder(int)
    c.model.depth = placeholder(int)
    c.model.heads = placeholder(int)
    c.model.mlp_dim = placeholder(int)
    c.model.num_frames = 16
    c.model.image_size = 224
    c.model.tubelet = 2
    c.model.patch = 16
    c.model.attention = placeholder(str)  # full where not given; or block_causal, which can stream
    c.probe.tracks = ""  # labels in time, with commas; "": all that a source has
    c.probe.clips = 256  # of the train and of the val split each
    return c


def tiny(c: ConfigDict) -> None:
    """The tiny architecture of the quickstart, on phantom surgery, for two laptop cores."""
    c.steps = 500
    c.batch_size = 16
    c.accum_steps = 1
    c.model.preset = "Ti"
    c.model.width = 128
    c.model.depth = 4
    c.model.heads = 4
    c.model.mlp_dim = 512
    c.model.num_frames = 8
    c.model.image_size = 64
    c.model.tubelet = 4
    c.model.patch = 8
    c.model.position = "rope_3d"  # learns in hundreds of steps, a flat table in thousands
    c.model.init = "xavier"  # one architecture for all, so that one random encoder serves them
    c.optim.schedule = "cosine"
    c.optim.lr = 1e-3
    c.optim.start_lr = 0.0
    c.optim.reference_batch = 16
    c.optim.warmup_steps = 80
    c.optim.weight_decay = 0.05
    c.optim.end_weight_decay = 0.05
    c.compute.remat = "none"
    c.data.num_threads = 1
    c.checkpoint.every = 250
    c.probe.every = 250
    c.images.every = 250

"""SurgRec-MAE: masked autoencoding of surgical video, after arXiv 2603.29966 and VideoMAE.

    python -m surgrec_jax.main --config=configs/mae.py --workdir=runs/mae \
        --config.data.sources=cholec80,my_hospital --config.data.data_dir=DATA
    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Variants:
    base  ViT-B/16, 16 frames x 224, tube masks of 0.9, decoder of 4 layers, 150 epochs. Written for
          8 accelerators of 80 GB. No run of it at full length has been made with this code yet.
    unbalanced  base with every record drawn equally often: the ablation of balanced sampling. Base
          draws sources as records ** 0.5, or as data.manifest says (docs/curation.md).
    tiny  a ViT of 0.9 M parameters on 8 frames x 64 of phantom surgery, for two laptop cores: about
          two minutes; what it reaches is in the README.

What the paper does not state (learning rate, batch, warm-up, the length of an epoch) is taken from
VideoMAE v1 for ViT-B, with epochs of 300 steps (600,000 clips of the paper's corpus at this batch).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

VARIANTS = ("base", "unbalanced", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    if variant not in VARIANTS:
        raise ValueError(f"configs/mae.py:{variant} does not exist: choose from {VARIANTS}")
    c = ConfigDict()
    c.objective = "mae"
    c.name = variant
    c.seed = 0

    epoch = 300
    c.steps = 150 * epoch
    c.batch_size = 2048  # clips per step over all devices
    c.accum_steps = 1  # microbatches per step; raise it where a batch does not fit in memory
    c.stop_after = placeholder(int)  # stop at this step, as if the run were interrupted there
    c.init_from = ""  # a workdir or checkpoint to take the parameters from, "" for a fresh start

    c.model = ConfigDict()
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
    c.model.position = "sincos_1d"  # sincos_1d, sincos_3d, rope_3d, rope_3d_tiled
    c.model.qkv_bias = "qv"  # VideoMAE: no bias on keys
    c.model.init = "xavier"

    c.mae = ConfigDict()
    c.mae.mask_ratio = 0.9
    c.mae.decoder_mask_ratio = 0.0  # 0.5 is VideoMAE v2's dual masking
    c.mae.decoder_depth = placeholder(int)  # None: VideoMAE's decoder for the preset
    c.mae.decoder_width = placeholder(int)
    c.mae.decoder_heads = placeholder(int)
    c.mae.decoder_mlp_dim = placeholder(int)  # None: 4 decoder_width

    c.optim = ConfigDict()
    c.optim.schedule = "cosine"
    c.optim.lr = 1.5e-4  # per reference_batch clips: the rate is lr * batch_size / reference_batch
    c.optim.start_lr = 0.0
    c.optim.end_lr = 1e-5
    c.optim.reference_batch = 256
    c.optim.warmup_steps = 40 * epoch
    c.optim.weight_decay = 0.05
    c.optim.end_weight_decay = 0.05
    c.optim.b1 = 0.9
    c.optim.b2 = 0.95
    c.optim.clip_norm = 0.0  # 0: none
    c.optim.clip_per_module = False

    c.data = ConfigDict()
    c.data.sources = (
        "phantom_surgery/default"  # name[/config][@split][=weight], separated by commas
    )
    c.data.data_dir = "data"
    c.data.temperature = 0.5  # sources without weights are drawn as records ** temperature
    c.data.manifest = ""  # a file of surgrec_jax.curation: what is drawn how often; "" for none
    c.data.fps = 4.0  # of clips; 16 frames of a 30 fps video at VideoMAE's stride of 4 are 7.5
    c.data.crop = "multi_scale"  # of {1, .875, .75, .66}; or random_resized
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
    c.probe.sources = "phantom_surgery/default"  # labelled sources, as in data.sources
    c.probe.tracks = "phase,action"
    c.probe.clips = 256  # of the train and of the val split each

    c.images = ConfigDict()
    c.images.every = 5000  # 0: never
    c.images.clips = 4

    if variant == "unbalanced":
        c.data.temperature = 1.0
    if variant == "tiny":
        _tiny(c)
    return c


def _tiny(c: ConfigDict) -> None:
    c.steps = 1000
    c.batch_size = 16
    c.model.preset = "Ti"
    c.model.width = 128
    c.model.depth = 4
    c.model.heads = 4
    c.model.mlp_dim = 512
    c.model.num_frames = 8
    c.model.image_size = 64
    c.model.tubelet = 4
    c.model.patch = 8
    c.model.position = (
        "rope_3d"  # learns in hundreds of steps what a flat table takes thousands for
    )
    c.model.qkv_bias = "qkv"
    c.mae.mask_ratio = 0.75
    c.mae.decoder_depth = 1
    c.mae.decoder_width = 64
    c.mae.decoder_heads = 2
    c.optim.lr = 2e-3
    c.optim.reference_batch = 16
    c.optim.warmup_steps = 80
    c.compute.remat = "none"
    c.data.sources = "phantom_surgery/tiny"
    c.data.num_threads = 1
    c.checkpoint.every = 250
    c.probe.every = 250
    c.probe.sources = "phantom_surgery/tiny"
    c.images.every = 250

"""SurgRec-JEPA: joint-embedding prediction on surgical video, after arXiv 2603.29966 and V-JEPA 2.

    python -m surgrec_jax.main --config=configs/jepa.py --workdir=runs/jepa \
        --config.data.sources=cholec80,my_hospital --config.data.data_dir=DATA
    python -m surgrec_jax.main --config=configs/jepa.py:tiny --workdir=runs/jepa_tiny

Variants:
    base  ViT-L/16, 16 frames x 224 at 4 fps, a predictor of 12 layers, 131 epochs. Written for
          8 accelerators of 80 GB: 4 microbatches of 96 clips on each. No run of it at full
          length has been made with this code yet.
    one_gpu  ViT-S/16, batch 256, for one card: what is scaled with the batch is said below, and in
          docs/objectives.md. No run of it has been made.
    v2_1  V-JEPA 2.1's training (arXiv 2603.14482) of the base: four levels, and a loss on visible
          tokens.
    cooldown  the end of a run, from --config.init_from, at 64 frames (or another clip) with a
          falling rate.
    tiny  a ViT of 0.8 M parameters on 8 frames x 64 of phantom surgery, for two laptop cores: about
          two minutes; what it reaches: docs/quickstart.md.

What the paper does not state is taken from V-JEPA 2 (epochs of 300 steps, batch 3072); its
clips are 256 px, ours 224 as in the paper's downstream protocol.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.trainer import pretraining, tiny

VARIANTS = ("base", "one_gpu", "v2_1", "cooldown", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    c = pretraining("jepa", variant)

    epoch = 300
    c.steps = 131 * epoch
    c.batch_size = 3072  # clips per step over all devices
    c.accum_steps = 4  # microbatches per step: 96 clips on each of 8 cards; only memory changes

    c.model.preset = "L"
    # V-JEPA 2's own, which transformers can hold; rope_3d turns both dimensions of a pair alike,
    # as rotary embedding means it, and no other project reads it. Or sincos_1d, sincos_3d.
    c.model.position = "rope_3d_tiled"
    c.model.qkv_bias = "qkv"
    c.model.init = "trunc_normal"

    c.jepa = ConfigDict()
    c.jepa.predictor_depth = 12
    c.jepa.predictor_width = 384
    c.jepa.predictor_heads = 12
    # Shares of a layer's cells: of a block, and of those that are seen and predicted (at 14 x 14,
    # 40 and 96, 16 and 132). About nine draws in ten have so many at any image size from 192 on
    # (three in four at 128), so that shapes are static and little is drawn again. "trim": "side"
    # keeps cells that hang together, not random ones (docs/objectives.md).
    c.jepa.masks = (
        {"blocks": 8, "scale": 0.15, "context": 0.204, "target": 0.49},
        {"blocks": 2, "scale": 0.7, "context": 0.082, "target": 0.673},
    )

    # Whose tokens are predicted: an average of the encoder ("ema"), or a "frozen" one of the same
    # clips and patches and of any size, named by its workdir or checkpoint in jepa.teacher (SALT,
    # arXiv 2509.24317). Its fingerprint is filled in; the run goes on with no other.
    c.jepa.target = "ema"
    c.jepa.teacher = ""
    c.jepa.teacher_fingerprint = placeholder(str)

    c.optim.schedule = "constant"
    c.optim.lr = 5.25e-4  # per reference_batch clips
    c.optim.start_lr = 1e-4
    c.optim.end_lr = 1e-6
    c.optim.reference_batch = 3072
    c.optim.warmup_steps = 40 * epoch
    c.optim.cooldown_steps = 0
    c.optim.weight_decay = 0.04
    c.optim.end_weight_decay = 0.04
    c.optim.b2 = 0.999
    c.optim.clip_norm = 0.0  # V-JEPA 1: 10, per module
    c.optim.clip_per_module = True
    c.optim.momentum = 0.99925  # of the EMA target; V-JEPA 1: 0.998 to 1.0
    c.optim.end_momentum = 0.99925

    c.data.fps = 4.0  # rate of clips
    c.data.crop = "random_resized"  # area 0.3 to 1, aspect 0.75 to 1.35; or multi_scale
    c.data.flip = True

    c.jepa.levels = 1  # of the encoder, that are fused and predicted: 1, or 4 as V-JEPA 2.1
    c.jepa.visible_weight = 0.0  # of the loss on visible tokens (V-JEPA 2.1: 0.5)
    c.jepa.visible_warmup = (15_000, 30_000)  # steps between which it rises
    # Our reading of SurgMotion (arXiv 2602.05638), whose code is not public.
    c.jepa.motion_weight = 0.0  # share of a hidden token's weight that goes by its motion
    c.jepa.diversity_weight = 0.0  # of the term that keeps a clip's visible tokens apart

    settings = {"one_gpu": _one_gpu, "v2_1": _v2_1, "cooldown": _cooldown, "tiny": _tiny}
    if variant in settings:
        settings[variant](c)
    return c


def _one_gpu(c: ConfigDict) -> None:
    c.steps = 100_000
    c.batch_size = 256
    c.accum_steps = 1
    c.model.preset = "S"
    # Rates per step go with the square root of the batch, as AdamW's steps do; in proportion, as
    # base has it, a batch of 256 would train at 4.4e-5.
    c.optim.reference_batch = 256
    c.optim.lr = 1.5e-4  # 5.25e-4 * sqrt(256 / 3072)
    c.optim.start_lr = 3e-5
    c.optim.warmup_steps = 10_000  # a tenth of the run; base: three tenths
    c.optim.momentum = 0.998  # per step, not per clip: V-JEPA 1's, to 1
    c.optim.end_momentum = 1.0


def _v2_1(c: ConfigDict) -> None:
    # Positions and modality vector as its files have them (convert export --format=vjepa21).
    c.model.position = "rope_3d"
    c.model.position_grid = (0, 16, 16)
    c.model.modality_embedding = True
    c.jepa.predictor_depth = 24
    c.jepa.levels = 4
    c.jepa.visible_weight = 0.5


def _cooldown(c: ConfigDict) -> None:
    c.steps = 40 * 300
    c.accum_steps = 16  # four times the tokens of base
    c.model.preset = "checkpoint"
    for name in ("position", "qkv_bias"):
        c.model[name] = placeholder(str)
    c.model.tubelet = placeholder(int)
    c.model.patch = placeholder(int)
    c.model.num_frames = 64
    c.model.image_size = placeholder(int)
    c.init_resize = "extend"  # rotary positions go on, as V-JEPA 2's; tables: interpolate
    # The rate falls in a line from base's over the whole run, after a short rise for the new
    # optimizer, whose moments are empty.
    c.optim.warmup_steps = 300
    c.optim.cooldown_steps = c.steps - 300


def _tiny(c: ConfigDict) -> None:
    tiny(c)
    c.jepa.predictor_depth = 1
    c.jepa.predictor_width = 64
    c.jepa.predictor_heads = 2
    c.jepa.masks = (
        {"blocks": 8, "scale": 0.15, "context": 0.375, "target": 0.31},
        {"blocks": 2, "scale": 0.7, "context": 0.22, "target": 0.5},
    )
    c.optim.b2 = 0.95
    c.optim.momentum = 0.95
    c.optim.end_momentum = 1.0
    c.data.crop = "multi_scale"  # crops of 0.3 of the area lose the tools at this size

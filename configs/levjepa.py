"""LeVJEPA on surgical video: views of a clip agree, clips are spread (after arXiv 2608.27395).

    python -m surgrec_jax.main --config=configs/levjepa.py --workdir=runs/levjepa \
        --config.data.sources=cholec80,my_hospital --config.data.data_dir=DATA
    python -m surgrec_jax.main --config=configs/levjepa.py:one_gpu --workdir=runs/levjepa_s \
        --config.data.sources=cholec80,my_hospital --config.data.data_dir=DATA
    python -m surgrec_jax.main --config=configs/levjepa.py:tiny --workdir=runs/levjepa_tiny

Variants:
    base  ViT-B/16 with tubelets of one frame, block-causal, one global and ten local views, 95 % of
          their tokens dropped. Written for 8 accelerators of 80 GB. No run of it at full length has
          been made with this code yet.
    one_gpu  ViT-S/16 with four local views, batch 256, for one card of 16 GB.
    tiny  a ViT of 0.8 M parameters on 8 frames x 64 of phantom surgery, for two laptop cores.

Constants are those of the paper and of its public code. The length of a run is ours, and so is the
weight of SIGReg, which means the same at any batch (docs/objectives.md).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.trainer import pretraining, tiny

VARIANTS = ("base", "one_gpu", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    c = pretraining("levjepa", variant)

    c.steps = 40_000
    c.batch_size = 3072  # clips per step over all devices
    # Microbatches per step: the loss is still that of the whole batch; their forward pass is made
    # twice, so prefer a smaller share of the memory by compute.remat.
    c.accum_steps = 4

    c.model.tubelet = 1
    c.model.position = "rope_3d_tiled"  # V-JEPA 2's; rope_3d turns pairs alike
    c.model.qkv_bias = "qkv"
    c.model.init = "trunc_normal"
    c.model.attention = "block_causal"  # or full
    c.model.prefix_tokens = 1  # the CLS token
    c.model.pooling = "cls"  # compared, probed and exported as features; or mean

    c.levjepa = ConfigDict()
    c.levjepa.local_views = 10  # besides the global one, of the same frames
    c.levjepa.local_side = 96  # pixels
    c.levjepa.global_area = (0.8, 1.0)  # share of the frame
    c.levjepa.local_area = (0.02, 0.4)
    c.levjepa.global_drop = 0.95  # share of the patch tokens that is not embedded
    c.levjepa.local_drop = 0.95
    c.levjepa.flip = 0.5  # probability of the mirror image
    c.levjepa.colours = ConfigDict()
    c.levjepa.colours.probability = 0.8  # share of views with changed colours
    c.levjepa.colours.brightness = 0.4
    c.levjepa.colours.contrast = 0.4
    c.levjepa.colours.saturation = 0.2
    c.levjepa.colours.hue = 0.1
    c.levjepa.colours.grey = 0.2  # probability of no colour
    c.levjepa.hidden = 2048  # width of the projector
    c.levjepa.outputs = 256
    c.levjepa.lines = 1024  # random directions of SIGReg
    c.levjepa.sigreg_weight = 0.02 * 3072  # the paper's 0.02 is of the statistic times the batch
    c.levjepa.ema = True  # keep, evaluate and export an average of the encoder

    c.optim.schedule = "constant"
    c.optim.lr = 4e-4  # per reference_batch clips
    c.optim.start_lr = 1e-4
    c.optim.end_lr = 1e-6
    c.optim.reference_batch = 3072
    c.optim.warmup_steps = 1200
    c.optim.cooldown_steps = 0
    c.optim.weight_decay = 0.04
    c.optim.end_weight_decay = 0.04
    c.optim.b2 = 0.95
    # The average has this momentum at every step. The paper's 0.9999 every 32 steps would still
    # remember the random start after 40,000 steps.
    c.optim.momentum = 0.999
    c.optim.end_momentum = 0.9999

    c.data.fps = 7.5  # rate of clips
    c.data.crop = "multi_scale"  # views are cut from this: 0.66 to 1 of the short side

    if variant == "one_gpu":
        _one_gpu(c)
    if variant == "tiny":
        _tiny(c)
    return c


def _one_gpu(c: ConfigDict) -> None:
    c.steps = 100_000
    c.batch_size = 256
    c.accum_steps = 1
    c.model.preset = "S"
    c.levjepa.local_views = 4
    c.optim.reference_batch = 256  # the rate is not scaled down with the batch: AdamW's step is not


def _tiny(c: ConfigDict) -> None:
    tiny(c)
    c.batch_size = 64
    c.model.attention = placeholder(str)
    c.model.prefix_tokens = placeholder(int)  # the tiny MAE's architecture: one random encoder
    c.model.pooling = placeholder(str)
    c.levjepa.local_views = 2
    c.levjepa.local_side = 32
    c.levjepa.local_area = (0.1, 0.4)
    c.levjepa.global_drop = 0.75
    c.levjepa.local_drop = 0.5
    c.levjepa.hidden = 256
    c.levjepa.outputs = 64
    c.levjepa.lines = 256
    c.levjepa.sigreg_weight = 0.2 * 64
    c.levjepa.ema = False
    c.optim.reference_batch = 64
    c.data.fps = 4.0

"""SurgRec-MAE: masked autoencoding of surgical video, after arXiv 2603.29966 and VideoMAE.

    python -m surgrec_jax.main --config=configs/mae.py --workdir=runs/mae \
        --config.data.sources=cholec80,my_hospital --config.data.data_dir=DATA
    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Variants:
    base  ViT-B/16, 16 frames x 224, tube masks of 0.9, decoder of 4 layers, 150 epochs. Written for
          8 accelerators of 80 GB. No run of it at full length has been made with this code yet.
    unbalanced  base with every record drawn equally often: the ablation of balanced sampling. Base
          draws sources as records ** 0.5, or as data.manifest says (docs/curation.md).
    one_gpu  ViT-S/16, batch 256, 60,000 steps, for one card of 24 GB: launch/open_benchmark.sh. Not
          run at full length yet.
    tiny  a ViT of 0.9 M parameters on 8 frames x 64 of phantom surgery, for two laptop cores: about
          two minutes; what it reaches: docs/quickstart.md.

What the paper does not state (learning rate, batch, warm-up, the length of an epoch) is taken from
VideoMAE v1 for ViT-B, with epochs of 300 steps (600,000 clips of the paper's corpus at this batch).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.trainer import pretraining, tiny

VARIANTS = ("base", "unbalanced", "one_gpu", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    c = pretraining("mae", variant)

    epoch = 300
    c.steps = 150 * epoch
    c.batch_size = 2048  # clips per step over all devices

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

    c.optim.lr = 1.5e-4  # per reference_batch clips: the rate is lr * batch_size / reference_batch
    c.optim.end_lr = 1e-5
    c.optim.reference_batch = 256
    c.optim.warmup_steps = 40 * epoch
    c.optim.b2 = 0.95

    c.data.fps = 4.0  # rate of clips; 16 frames of a 30 fps video at VideoMAE's stride of 4 are 7.5
    c.data.crop = "multi_scale"  # of {1, .875, .75, .66}; or random_resized

    if variant == "unbalanced":
        c.data.temperature = 1.0
    if variant == "one_gpu":
        c.steps = 60_000
        c.batch_size = 256
        c.model.preset = "S"
        c.optim.warmup_steps = 3000
    if variant == "tiny":
        _tiny(c)
    return c


def _tiny(c: ConfigDict) -> None:
    tiny(c)
    c.steps = 1000
    c.model.qkv_bias = "qkv"
    c.mae.mask_ratio = 0.75
    c.mae.decoder_depth = 1
    c.mae.decoder_width = 64
    c.mae.decoder_heads = 2
    c.optim.lr = 2e-3

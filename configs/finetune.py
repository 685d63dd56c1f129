"""Fine-tuning: a pretrained encoder and a classifier on it, trained on a label track.

    python -m surgrec_jax.main --config=configs/finetune.py --workdir=runs/cholec80_phase \
        --config.init_from=runs/mae --config.data.sources=cholec80 \
        --config.classify.track=phase --config.classify.frame=last
    python -m surgrec_jax.main --config=configs/finetune.py:tiny --workdir=runs/finetune_tiny \
        --config.init_from=runs/mae_tiny
    python -m surgrec_jax.probe --config=configs/probe.py:tiny \
        --config.checkpoint=runs/finetune_tiny

Variants:
    base  the paper's downstream recipe (50 epochs, AdamW, layer decay 0.75, drop path, mixup,
          CutMix, label smoothing, RandAugment, random erasing), an epoch being 100 steps of 64
          clips. Not run at full length yet.
    tiny  for the encoders of configs/mae.py:tiny and configs/jepa.py:tiny: a few minutes on two
          laptop cores.

Architecture, clip and frame rate are those of the checkpoint in init_from, and so are the sources,
where none are named: those of them that have the label. What the paper does not
state (learning rate, CutMix, smoothing) is VideoMAE's for ViT-B. Constants: docs/finetuning.md.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.trainer import trainer

VARIANTS = ("base", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    c = trainer("classify", variant)

    epoch = 100
    c.steps = 50 * epoch
    c.batch_size = 64  # clips per step over all devices
    c.init_from = ""  # a workdir or checkpoint whose encoder is fine-tuned
    c.init_weights = True  # False: only its architecture; training from nothing, as a baseline

    c.model.preset = "checkpoint"  # as in init_from; or Ti, S, B, L, H, g with sizes below
    c.model.num_frames = placeholder(int)
    c.model.image_size = placeholder(int)

    c.classify = ConfigDict()
    c.classify.track = "phase"  # a label track, a per-video label, or a pattern (instrument_*)
    c.classify.frame = "centre"  # of a clip, whose label is learnt; last: online recognition
    c.classify.head = "linear"  # on the mean of all tokens; or attentive
    c.classify.head_depth = 0  # self-attention blocks of an attentive head
    c.classify.drop_path = 0.1  # of the last block; rises linearly from 0 at the first
    c.classify.label_smoothing = 0.1
    c.classify.erasing = 0.25  # probability of random erasing
    c.classify.mixing = ConfigDict()
    c.classify.mixing.mixup = 0.8  # alpha; 0: none
    c.classify.mixing.cutmix = 1.0  # alpha; 0: none
    c.classify.mixing.probability = 1.0  # that a clip is mixed
    c.classify.mixing.switch = 0.5  # that it is CutMix, where both are on
    c.classify.ema = False  # keep, evaluate and export an average of the weights

    c.optim.lr = 5e-4  # per reference_batch clips: the rate is lr * batch_size / reference_batch
    c.optim.end_lr = 1e-6
    c.optim.reference_batch = 256
    c.optim.warmup_steps = 5 * epoch
    c.optim.layer_decay = 0.75  # of the rate per layer, from the head down to the pixels; 1: none
    c.optim.b2 = 0.999
    c.optim.momentum = 0.9999  # of the average of the weights, with classify.ema
    c.optim.end_momentum = 0.9999

    c.data.temperature = 1.0  # sources without weights are drawn as records ** temperature
    c.data.fps = placeholder(float)  # rate of clips; None: as in init_from
    c.data.crop = "random_resized"  # or multi_scale
    c.data.flip = False  # left and right mean something in surgery
    c.data.rand_augment = ConfigDict()
    c.data.rand_augment.count = 4  # operations per clip; 0: none
    c.data.rand_augment.magnitude = 7.0  # 0 to 10
    c.data.rand_augment.deviation = 0.5  # that of the normal noise on the magnitude
    c.data.rand_augment.probability = 0.5  # that an operation is applied

    c.compute.remat = "none"  # none, dots, full

    c.checkpoint.every = 500
    c.checkpoint.keep = 1

    c.probe.every = 500  # 0: never
    c.probe.clips = 1024

    c.images.every = 500  # clips as loaded, and erased and mixed; 0: never

    if variant == "tiny":
        _tiny(c)
    return c


def _tiny(c: ConfigDict) -> None:
    c.steps = 300
    c.batch_size = 16
    c.classify.drop_path = 0.05
    c.optim.lr = 1e-3
    c.optim.reference_batch = 16
    c.optim.warmup_steps = 30
    # Four layers and a minute: the recipe's augmentation, at a strength that leaves something.
    c.classify.mixing.probability = 0.5
    c.data.rand_augment.count = 2
    c.data.num_threads = 1
    c.checkpoint.every = 100
    c.probe.every = 100
    c.probe.clips = 256
    c.images.every = 200

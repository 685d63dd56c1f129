"""Balances a corpus: embeds its clips, clusters them, and writes the mixture that training draws.

    python -m surgrec_jax.curation --config=configs/curation.py \
        --config.checkpoint=runs/unbalanced --config.sources=cholec80,my_hospital
    python -m surgrec_jax.curation --config=configs/curation.py:tiny \
        --config.checkpoint=runs/mae_tiny

Variants:
    base  four levels of 10,000 / 1,000 / 100 / 10 clusters, for corpora from 10^6 records on.
    tiny  40 and 10 clusters, for a phantom corpus on two laptop cores: under a minute.

Ends with <out>/manifest.json, which training takes with --config.data.manifest, and
<out>/report.html. Every step that is done is kept: the same command goes on where it stopped.
"""

from ml_collections import ConfigDict

VARIANTS = ("base", "tiny")


def get_config(variant: str = "base") -> ConfigDict:
    """The config of a variant; override values with --config.<section>.<name>=<value>."""
    c = ConfigDict()
    c.checkpoint = ""  # the workdir or checkpoint whose encoder embeds
    c.sources = ""  # name[/config][@split][=weight], with commas; "": those of the checkpoint
    c.data_dir = "data"
    c.out = ""  # folder of the results; "" for <checkpoint>/curation

    c.embed = ConfigDict()
    c.embed.clips_per_record = 1  # evenly spaced; their features are averaged
    c.embed.shard_records = 4096  # records per file; what a stopped run loses at most
    c.embed.num_threads = 16  # decoding threads per process

    c.cluster = ConfigDict()
    c.cluster.levels = "10000,1000,100,10"  # clusters, the finest first; "" for none
    c.cluster.space = "plain"  # as they are; unit (centred, length one); whiten (decorrelated too)
    c.cluster.components = 256  # principal components kept, 0 for all
    c.cluster.iterations = 20  # passes of k-means at most
    c.cluster.tolerance = 1e-4  # ends when a pass gains less than this part of the inertia
    c.cluster.resample_rounds = 10  # of clustering the points nearest to their centroids afresh
    c.cluster.resample_points = 0  # kept of each cluster; 0: half of its mean size, 64 at most
    c.cluster.seed = 0
    c.cluster.block_tiles = 16  # of 1024 rows, per device and block read; memory, not results

    c.balance = ConfigDict()
    c.balance.group = ""  # above the clusters: source, domain or case; "" for none
    c.balance.group_temperature = 0.5  # groups share as records ** this (0: equally)
    c.balance.temperature = 0.0  # clusters of one parent share as records ** this
    c.balance.curriculum = ""  # instead: first_draw:temperature,... e.g. 0:1,500000:0
    c.balance.max_repeats = 0.0  # of a record in the planned draws, on average; 0: no limit
    c.balance.record_weights = ""  # a .npy of one number >= 0 per record; "": all alike

    c.plan = ConfigDict()
    c.plan.steps = 150 * 300  # of the run that will train on it: for the report and max_repeats
    c.plan.batch_size = 2048

    c.report = ConfigDict()
    c.report.clusters = 60  # contact sheets, evenly over the leaves
    c.report.frames = 6  # frames on each
    c.report.size = 96  # pixels, height of a frame

    if variant == "tiny":
        c.embed.num_threads = 2
        c.cluster.levels = "40,10"
        c.plan.steps = 1000
        c.plan.batch_size = 16
    return c

"""Agreement of clusters of clip embeddings with labels, against pixels and a random encoder.

    python -m surgrec_jax.bench purity --checkpoint=runs/quickstart/mae

It is the adjusted mutual information (0: chance, 1: the same partition) of k-means clusters with
the domain, the case and the phase of the records, by features and space; mean and standard
deviation over seeds of the clustering.
"""

import argparse

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from surgrec_jax import sharding
from surgrec_jax.curation.kmeans import Lloyd, kmeans
from surgrec_jax.curation.rows import SPACES, ArrayRows, fit_space
from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.evaluation.features import baselines, extraction
from surgrec_jax.evaluation.features.clips import labelled_clips
from surgrec_jax.frozen.encoder import load_encoder, random_encoder
from surgrec_jax.records.source import open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench purity`."""
    parser.add_argument("--checkpoint", required=True, help="workdir whose encoder embeds")
    parser.add_argument("--source", default="phantom_surgery/imbalanced", help="name[/config]")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--clusters", default="10,40", help="numbers of clusters")
    parser.add_argument("--labels", default="domain,case,phase")
    parser.add_argument("--seeds", type=int, default=3, help="of the clustering")


def run(args: argparse.Namespace) -> dict:
    """Measures the agreement; returns {"records", "agreement": [dicts by features, space, k]}."""
    encoder = load_encoder(args.checkpoint)
    name, _, config = args.source.partition("/")
    source = open_source(args.data_dir, name, config=config or None)
    clip = clip_of(encoder.clip)
    encoders = {
        "encoder": encoder.features,
        "random init": random_encoder(like=encoder).features,
        "pixels": baselines.pixels,
    }
    features = extraction.extract(encoders, labelled_clips(source, clip))
    rows = {name: one.features for name, one in features.items()}
    rows["pixels"] = baselines.fit_pca(rows["pixels"])(rows["pixels"])
    one = features["encoder"]
    truth = {**one.labels, "case": np.unique(one.case_id, return_inverse=True)[1]}
    lloyd = Lloyd(sharding.make_mesh(), iterations=50)
    agreement = []
    for kind, values in rows.items():
        for space in SPACES:
            for k in (int(n) for n in args.clusters.split(",")):
                leaves = [_clusters(values, k, space, lloyd, s) for s in range(args.seeds)]
                scores = {}
                for label in args.labels.split(","):
                    known = truth[label] >= 0
                    each = [
                        adjusted_mutual_info_score(truth[label][known], leaf[known])
                        for leaf in leaves
                    ]
                    scores[label] = f"{np.mean(each):.3f} +- {np.std(each):.3f}"
                agreement.append({"features": kind, "space": space, "k": k, **scores})
    return {"encoder": encoder.name, "records": len(one), "agreement": agreement}


def _clusters(values: np.ndarray, k: int, space: str, lloyd: Lloyd, seed: int) -> np.ndarray:
    rows = ArrayRows(values)
    return kmeans(rows, k, lloyd, space=fit_space(rows, space, 0, seed), seed=seed).leaf

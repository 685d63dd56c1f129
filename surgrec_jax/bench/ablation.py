"""The table of launch/ablation.sh: probe accuracy per domain, by the sampling of pretraining.

    python -m surgrec_jax.bench ablation --predictions=runs/ablation/probe/predictions.npz

It reads the predictions of one probe of the encoders <arm>-<seed>. Scores are the balanced accuracy
on the test clips of one domain; "rare" is the mean over the domains that are rare in pretraining,
"macro" over all. Beside each: the standard deviation over pretraining seeds, and its difference to
the first arm with a 95 % interval that holds the spread of test cases (drawn within every domain)
and of both arms' seeds, and the difference of every seed.
"""

import argparse
import functools
from pathlib import Path

import numpy as np

from surgrec_jax.evaluation.metrics import bootstrap
from surgrec_jax.evaluation.metrics.bootstrap import Samples
from surgrec_jax.safety.errors import DataError, MissingError

DOMAINS = ("laparoscopy", "endoscopy", "cataract", "robotic")
MEANS = {"common": DOMAINS[:1], "rare": DOMAINS[1:], "macro": DOMAINS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench ablation`."""
    parser.add_argument("--predictions", type=Path, required=True, help="of surgrec_jax.probe")
    arms = "unbalanced,domains,clusters,capped"
    parser.add_argument("--arms", default=arms, help="the baseline first")
    parser.add_argument("--tasks", default="phase,domain")
    parser.add_argument("--head", default="linear")
    parser.add_argument("--resamples", type=int, default=2000)


def run(args: argparse.Namespace) -> dict:
    """Reads the predictions; returns {task: [one dict per arm and row]}."""
    if not args.predictions.is_file():
        raise MissingError(f"{args.predictions} does not exist; run launch/ablation.sh")
    with np.load(args.predictions, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    domain_of = dict(zip(arrays["domain/case_id"], arrays["domain/labels"].tolist(), strict=True))
    table = {}
    for task in args.tasks.split(","):
        rows, baseline, first = [], None, {}
        for arm in args.arms.split(","):
            keys = sorted(k for k in arrays if k.startswith(f"{task}/{args.head}/{arm}-"))
            if not keys:
                raise DataError(f"{args.predictions} has no {task}/{args.head}/{arm}-*")
            seeds = [_samples(arrays, task, [key], domain_of, 1) for key in keys]
            whole = _samples(arrays, task, keys, domain_of, args.resamples)
            baseline = baseline or whole
            for name in whole:
                values = np.array([100 * s[name].value for s in seeds])
                first.setdefault(name, values)
                rows.append(_row(arm, name, whole[name], values, baseline[name], first[name]))
        table[task] = rows
    return table


def _samples(arrays, task: str, keys, domain_of, resamples: int) -> dict[str, Samples]:
    """Resampled scores by domain and mean over domains, averaged over all `keys`."""
    labels, cases = arrays[f"{task}/labels"], arrays[f"{task}/case_id"]
    scores = np.concatenate([arrays[key] for key in keys])  # [runs x probe seeds, units, classes]
    domain = np.array([domain_of[case] for case in cases])
    by_domain = {}
    for d, name in enumerate(DOMAINS):
        mine = domain == d
        data = labels[mine], scores[:, mine], cases[mine]
        by_domain[name] = bootstrap.resample(
            "balanced_accuracy", *data, num_resamples=resamples, seed=d
        )
    means = {name: _mean([by_domain[d] for d in members]) for name, members in MEANS.items()}
    return {**by_domain, **means}


def _mean(parts: list[Samples]) -> Samples:
    total = functools.reduce(np.add, [part.draws for part in parts])
    value = float(np.mean([part.value for part in parts]))
    return Samples(value, total / len(parts), sum(p.cases for p in parts), lost=len(parts))


def _row(arm: str, name: str, whole: Samples, seeds, baseline: Samples, first) -> dict:
    """A row in percent, from the scores of every seed of this arm and of the first one."""
    spread = f"{100 * whole.value:.1f} +- {np.std(seeds, ddof=1):.1f}"
    row = {"arm": arm, "of": name, "score": spread, "seeds": seeds.round(1).tolist()}
    if whole is not baseline:
        d = bootstrap.over_seeds(whole - baseline, [seeds / 100, first / 100])
        row["gain"] = f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
        if len(seeds) == len(first):
            row["gain of each seed"] = (seeds - first).round(1).tolist()
    return row

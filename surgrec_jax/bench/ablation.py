"""The table of launch/ablation.sh: probe accuracy per domain, by how pretraining was sampled.

    python -m surgrec_jax.bench ablation --predictions=runs/ablation/probe/predictions.npz

Reads the predictions of one probe of the encoders <arm>-<seed>. Scores are the balanced accuracy on
the test clips of one domain; "rare" is the mean over the domains that are rare in pretraining,
"macro" over all. Beside each: the standard deviation over pretraining seeds, and its difference to
the first arm with a 95 % bootstrap interval over test cases (drawn within every domain; the seeds
are averaged, so the interval does not hold their spread).
"""

import argparse
import functools
from pathlib import Path

import numpy as np

from surgrec_jax.evaluation import bootstrap
from surgrec_jax.evaluation.bootstrap import Samples

DOMAINS = ("laparoscopy", "endoscopy", "cataract", "robotic")
MEANS = {"common": DOMAINS[:1], "rare": DOMAINS[1:], "macro": DOMAINS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench ablation`."""
    parser.add_argument("--predictions", type=Path, required=True, help="of surgrec_jax.probe")
    parser.add_argument("--arms", default="unbalanced,domains,clusters", help="the baseline first")
    parser.add_argument("--tasks", default="phase,domain")
    parser.add_argument("--head", default="linear")
    parser.add_argument("--resamples", type=int, default=2000)


def run(args: argparse.Namespace) -> dict:
    """Reads, and returns {task: [one dict per arm and row]}."""
    if not args.predictions.is_file():
        raise FileNotFoundError(f"{args.predictions} does not exist; run launch/ablation.sh")
    with np.load(args.predictions, allow_pickle=False) as file:
        found = {key: file[key] for key in file.files}
    domain_of = dict(zip(found["domain/case_id"], found["domain/labels"].tolist(), strict=True))
    table = {}
    for task in args.tasks.split(","):
        rows, baseline = [], None
        for arm in args.arms.split(","):
            keys = sorted(k for k in found if k.startswith(f"{task}/{args.head}/{arm}-"))
            if not keys:
                raise ValueError(f"{args.predictions} has no {task}/{args.head}/{arm}-*")
            seeds = [_samples(found, task, [key], domain_of, 1) for key in keys]
            whole = _samples(found, task, keys, domain_of, args.resamples)
            baseline = baseline or whole
            rows += [
                _row(arm, name, whole[name], [s[name].value for s in seeds], baseline[name])
                for name in whole
            ]
        table[task] = rows
    return table


def _samples(found, task: str, keys, domain_of, resamples: int) -> dict[str, Samples]:
    """Score by domain and by mean over domains, all of `keys` averaged."""
    labels, cases = found[f"{task}/labels"], found[f"{task}/case_id"]
    scores = np.concatenate([found[key] for key in keys])  # [runs x probe seeds, units, classes]
    domain = np.array([domain_of[case] for case in cases])
    by_domain = {}
    for d, name in enumerate(DOMAINS):
        mine = domain == d
        by_domain[name] = bootstrap.resample(
            "balanced_accuracy",
            labels[mine],
            scores[:, mine],
            cases[mine],
            num_resamples=resamples,
            seed=d,
        )
    means = {name: _mean([by_domain[d] for d in members]) for name, members in MEANS.items()}
    return {**by_domain, **means}


def _mean(parts: list[Samples]) -> Samples:
    total = functools.reduce(np.add, [part.draws for part in parts])
    value = float(np.mean([part.value for part in parts]))
    return Samples(value, total / len(parts), min(part.cases for part in parts))


def _row(arm: str, name: str, whole: Samples, seeds: list[float], baseline: Samples) -> dict:
    """Percent, as text."""
    spread = f"{100 * whole.value:.1f} +- {100 * np.std(seeds, ddof=1):.1f}"
    row = {"arm": arm, "of": name, "score": spread, "seeds": [round(100 * s, 1) for s in seeds]}
    if whole is not baseline:
        d = (whole - baseline).interval()
        row["gain"] = f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
    return row

"""The share of intervals that hold the truth, in a simulation with correlated frames.

`python -m surgrec_jax.evaluation.metrics.coverage [--out FIGURE.svg]`

A model is right on a frame of case i with a probability p_i that differs between cases (a Beta
distribution of mean 0.7), and being right goes on from frame to frame (a two-state Markov chain).
The truth is known: 0.7. For every simulated test set the 95 % interval is computed by the bootstrap
over cases that the tables use, and by one over frames that takes them for independent.
"""

import argparse
import pathlib

import numpy as np

from surgrec_jax.evaluation.metrics import bootstrap

TRUTH = 0.7


def simulate(rng: np.random.Generator, cases: int, frames: int, spread: float, stay: float):
    """A test set: (right: bool [N], case: int [N]).

    Args:
        cases: number of cases.
        frames: mean number of frames of one (half to one and a half of it).
        spread: of p_i: variance as a share of the largest possible, TRUTH (1 - TRUTH).
        stay: share of frames that repeat the frame before.
    """
    mass = 1 / spread - 1
    chance = rng.beta(TRUTH * mass, (1 - TRUTH) * mass, cases)
    counts = rng.integers(frames // 2, frames + frames // 2 + 1, cases)
    case = np.repeat(np.arange(cases), counts)
    fresh = rng.random(len(case)) < chance[case]
    new = (rng.random(len(case)) >= stay) | (np.diff(case, prepend=-1) != 0)
    return fresh[np.maximum.accumulate(np.where(new, np.arange(len(case)), 0))], case


def coverage(
    cases: int,
    *,
    frames: int = 40,
    spread: float = 0.15,
    stay: float = 0.8,
    repeats: int = 2000,
    resamples: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Share of intervals that hold the truth, and their mean width.

    Returns:
        "cases" and "frames", what is resampled -> (coverage, width).
    """
    rng = np.random.default_rng([seed, cases])
    held = {"cases": [], "frames": []}
    for repeat in range(repeats):
        right, case = simulate(rng, cases, frames, spread, stay)
        labels, scores = np.ones(len(right), int), np.eye(2)[right.astype(int)]
        # A bootstrap over independent frames draws the number of right ones from a binomial.
        drawn = rng.binomial(len(right), right.mean(), resamples) / len(right)
        samples = {
            "cases": bootstrap.resample(
                "top1", labels, scores[None], case, num_resamples=resamples, seed=repeat
            ),
            "frames": bootstrap.Samples(right.mean(), drawn, len(right)),
        }
        for name, of in samples.items():
            ends = of.interval(level)
            held[name].append((ends.low <= TRUTH <= ends.high, ends.high - ends.low))
    return {name: tuple(np.mean(values, 0).tolist()) for name, values in held.items()}


def figure(measured: dict[int, dict[str, tuple[float, float]]], level: float = 0.95) -> str:
    """Coverage over the number of cases as an SVG that stands alone."""
    width, height, left, bottom = 560, 250, 60, 210
    names = {"cases": ("#2468b2", "bootstrap over cases"), "frames": ("#b3402a", "over frames")}
    numbers = sorted(measured)

    def at(i: int, value: float) -> tuple[float, float]:
        return left + 40 + i * (width - left - 100) / max(1, len(numbers) - 1), bottom - 190 * value

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = at(0, tick)[1]
        parts.append(
            f'<path d="M{left} {y}H{width - 20}" stroke="#e2e3df"/>'
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end" fill="#5d666e">{tick:.0%}</text>'
        )
    y = at(0, level)[1]
    parts.append(f'<path d="M{left} {y}H{width - 20}" stroke="#1d2226" stroke-dasharray="4 3"/>')
    for i, number in enumerate(numbers):
        x = at(i, 0)[0]
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{number} cases</text>')
    for k, (name, (colour, words)) in enumerate(names.items()):
        points = [at(i, measured[n][name][0]) for i, n in enumerate(numbers)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<text x="{left + 40 + 190 * k}" y="{height - 8}" fill="{colour}">{words}</text>'
        )
    return "".join([*parts, "</svg>\n"])


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m surgrec_jax.evaluation.metrics.coverage",
        description=__doc__,
    )
    parser.add_argument("--out", help="write the figure there, as SVG")
    parser.add_argument("--cases", default="4,6,13,30,80", help="numbers of test cases")
    parser.add_argument("--repeats", type=int, default=2000)
    args = parser.parse_args()
    measured = {int(n): coverage(int(n), repeats=args.repeats) for n in args.cases.split(",")}
    print(f"{'test cases':>10}{'over cases':>20}{'over frames':>20}")
    for number, of in measured.items():
        cells = "".join(f"{held:>12.1%} (± {w / 2:.3f})" for held, w in of.values())
        print(f"{number:>10}{cells}")
    print(
        f"share of 95 % intervals that hold the truth (half width), {args.repeats} test sets each"
    )
    if args.out:
        pathlib.Path(args.out).write_text(figure(measured), encoding="utf-8")


if __name__ == "__main__":
    main()

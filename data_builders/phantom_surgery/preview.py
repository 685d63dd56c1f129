"""Contact sheet of the phantom: `python -m data_builders.phantom_surgery.preview --out sheet.png`.

Rows are domains, columns are times (the middle of each phase by default); the labels are written
under each picture.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from data_builders.phantom_surgery.corpus import DOMAINS, CorpusSpec, VideoPlan, plan_corpus
from data_builders.phantom_surgery.editions import EDITIONS
from data_builders.phantom_surgery.render import Scene
from data_builders.phantom_surgery.script import inside, label_at
from surgrec_jax.records.errors import BuildError
from surgrec_jax.safety.errors import run_command

_STRIP = 18  # pixels of caption


def contact_sheet(
    plans: list[VideoPlan],
    columns: int,
    tile: tuple[int, int] = (240, 180),
    start: float | None = None,
    step: float = 0.5,
) -> np.ndarray:
    """uint8 [rows * (h + caption), columns * w, 3] RGB, a row per video.

    Times are spread over the phases, or start, start + step, ... seconds where `start` is given.
    """
    rows = []
    for plan in plans:
        scene = Scene(plan)
        if start is None:
            times = _spread(scene, columns)
        else:
            times = [min(start + k * step, plan.seconds - 0.1) for k in range(columns)]
        rows.append(np.concatenate([_tile(scene, t, tile) for t in times], axis=1))
    return np.concatenate(rows, axis=0)


def _spread(scene: Scene, columns: int) -> list[float]:
    """Times in the middle of actions other than idle, evenly over the video."""
    idle = scene.script.edition.actions.index("idle")
    busy = [a for a in scene.script.actions if a.label != idle]
    times = np.array([0.35 * a.start + 0.65 * a.stop for a in busy])
    times = times[~inside(scene.script.out_of_body, times)]
    return [float(times[k]) for k in np.linspace(0, len(times) - 1, columns).round().astype(int)]


def _tile(scene: Scene, t: float, tile: tuple[int, int]) -> np.ndarray:
    image = scene.frame(t).image
    scale = min(tile[0] / image.shape[1], tile[1] / image.shape[0])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    out = np.full((tile[1] + _STRIP, tile[0], 3), 18, np.uint8)
    top, left = (tile[1] - size[1]) // 2, (tile[0] - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = small
    edition = scene.script.edition
    phase = edition.phases[int(label_at(scene.script.phases, np.array([t]))[0])]
    action = edition.actions[int(label_at(scene.script.actions, np.array([t]))[0])]
    text = f"{t:5.1f} s  {phase} / {action}"
    cv2.putText(
        out,
        text,
        (4, tile[1] + 13),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.36,
        (225, 225, 225),
        1,
        cv2.LINE_AA,
    )
    return out


def main(argv: list[str] | None = None) -> int:
    """Writes the sheet and prints its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--patients", type=int, default=1, help="rows per domain")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--short_side", type=int, default=256, help="rendered size in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--edition", type=int, default=2, choices=sorted(EDITIONS))
    parser.add_argument(
        "--start", type=float, help="seconds; consecutive pictures from here instead of an overview"
    )
    parser.add_argument(
        "--step", type=float, default=0.5, help="seconds between pictures with --start"
    )
    args = parser.parse_args(argv)
    return run_command("preview", lambda: _write(args))


def _write(args: argparse.Namespace) -> int:
    spec = CorpusSpec(seed=args.seed, short_sides=(args.short_side,), edition=args.edition)
    rows, plans = [], plan_corpus(spec)
    for domain in args.domains:
        cases = [p for p in plans if p.domain == domain and p.video_id.endswith("_0")]
        rows += cases[: args.patients]
    sheet = contact_sheet(rows, args.columns, start=args.start, step=args.step)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise BuildError(f"cannot write {args.out}; does its suffix name an image format?")
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The model card of an exported checkpoint, from what its run recorded."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from surgrec_jax import untrusted

LOAD = {
    "transformers": """```python
from transformers import AutoModel, PROCESSOR

model = AutoModel.from_pretrained("THIS_FOLDER")
processor = PROCESSOR.from_pretrained("THIS_FOLDER")
```""",
    "videomae": "`checkpoint.pth`, key `model`, for VideoMAE's own scripts.",
    "vjepa2": "`latest.pt`, for V-JEPA 2's own code.",
    "vjepa1": "`latest.pt`, for V-JEPA's own code.",
}

PROCESSOR = {"sincos_1d": "AutoImageProcessor", "rope_3d_tiled": "AutoVideoProcessor"}


def write(model: Any, format: str, which: str) -> str:
    """Markdown with front matter.

    Args:
        model: an `exporter.Model`.
        format: of the files beside the card.
        which: the encoder that was exported, "target" or "online".
    """
    meta, encoder = model.meta, model.encoder
    parts = ["encoder" + (f" ({which})" if meta["uses_target"] else "")]
    parts += [name for name in ("decoder", "predictor", "head") if getattr(model, name)]
    height, width = encoder.image_size
    lines = [
        "---",
        "library_name: transformers" if format == "transformers" else "library_name: pytorch",
        "tags: [surgery, video, self-supervised, surgrec_jax]",
        "---",
        "",
        f"# {meta['name']}",
        "",
        f"A video encoder ({meta['objective']}), step {model.location.step}, from surgrec_jax. "
        f"In these files: {', '.join(parts)}.",
        "",
        LOAD[format].replace("PROCESSOR", PROCESSOR.get(encoder.position, "")),
        "",
        "## Input",
        "",
        f"{encoder.num_frames} RGB frames of {height} x {width} pixels at {meta['fps']:g} frames a "
        f"second, x / 255, then (x - {list(encoder.mean)}) / {list(encoder.std)}.",
        "",
        "## Architecture",
        "",
        "| field | value |",
        "|---|---|",
        *(_row(name, value) for name, value in meta["encoder"].items()),
        "",
        *_origin(meta),
        *_data(meta),
        *_training(meta),
        *_probe(model.location.root.parent),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _origin(meta: dict[str, Any]) -> list[str]:
    origin = meta.get("import")
    if not origin:
        return []
    lines = ["## Origin", "", f"Imported from `{origin['file']}` ({origin['family']})."]
    if origin["resized"]:
        resized = origin["resized"]
        lines.append(f"Positions resized from {resized['from']}: {resized['method']}.")
    return [*lines, *(f"Note: {note}." for note in origin["notes"]), ""]


def _data(meta: dict[str, Any]) -> list[str]:
    sources = meta.get("sources")
    if not sources:
        return ["## Data", "", "Not recorded in the checkpoint.", ""]
    keys = list(dict.fromkeys(key for source in sources for key in source))
    rows = [_row(*(source.get(k, "") for k in keys)) for source in sources]
    return ["## Data", "", _row(*keys), "|" + "---|" * len(keys), *rows, ""]


def _training(meta: dict[str, Any]) -> list[str]:
    if "config" not in meta:
        return ["## Training", "", "Not recorded in the checkpoint.", ""]
    return ["## Training", "", "```json", json.dumps(meta["config"], indent=1), "```", ""]


def _probe(workdir: Path) -> list[str]:
    """Scores of `python -m surgrec_jax.probe`, where it was run on this workdir."""
    path = workdir / "probe" / "results.json"
    if not path.exists():
        return ["## Results", "", "Not probed yet (`python -m surgrec_jax.probe`).", ""]
    results = untrusted.read_json(path)
    lines = [
        "## Results",
        "",
        "| task | head | encoder | score | interval |",
        "|---|---|---|---|---|",
    ]
    with untrusted.interpreting(path):
        for task in results["tasks"]:
            for head, entries in task["heads"].items():
                for name, entry in entries.items():
                    mean, interval = entry["mean"], entry.get("interval") or {}
                    score = "undefined" if mean is None else f"{100 * mean:.1f}"
                    low, high = interval.get("low"), interval.get("high")
                    between = "" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
                    lines.append(_row(task["name"], head, name, score, between))
    return [*lines, "", "Percent; 95 % bootstrap intervals over test cases.", ""]


def _row(*cells: Any) -> str:
    """A row of a table: no cell's text can begin another cell, a line, or HTML."""
    plain = (" ".join(html.escape(str(x), quote=False).split()).replace("|", "\\|") for x in cells)
    return f"| {' | '.join(plain)} |"

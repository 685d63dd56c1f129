"""The model card of an exported checkpoint, from what its run recorded."""

import html
import json
from pathlib import Path
from typing import Any

from surgrec_jax.safety import untrusted
from surgrec_jax.safety.terminal import escaped

LOAD = {
    "transformers": """```python
from transformers import AutoModel, PROCESSOR

model = AutoModel.from_pretrained("THIS_FOLDER")
processor = PROCESSOR.from_pretrained("THIS_FOLDER")
```""",
    "videomae": "`checkpoint.pth`, key `model`, for VideoMAE's own scripts.",
    "vjepa2": "`latest.pt`, for V-JEPA 2's own code.",
    "vjepa1": "`latest.pt`, for V-JEPA's own code.",
    "vjepa21": "`latest.pt`, for V-JEPA 2.1's own code; its image branch is not in these files.",
}

PROCESSOR = {"sincos_1d": "AutoImageProcessor", "rope_3d_tiled": "AutoVideoProcessor"}


def write(model: Any, format: str, which: str) -> str:
    """Markdown with front matter.

    Args:
        model: an `exporter.Model`.
        format: format of the files beside the card.
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
        f"# {_plain(meta['name'])}",
        "",
        f"A video encoder ({_plain(meta['objective'])}), step {model.location.step}, from "
        f"surgrec_jax. In these files: {', '.join(parts)}.",
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
    origin, lines = meta.get("import"), []
    if origin:
        lines.append(f"Imported from `{origin['file']}` ({origin['family']}).")
    # An import says it of itself, a run of the checkpoint that it began from.
    resized = (origin or meta).get("resized")
    if resized:
        lines.append(f"Positions resized from {resized['from']}: {resized['method']}.")
    lines += [f"Note: {note}." for note in (origin or {}).get("notes", ())]
    return ["## Origin", "", *map(_plain, lines), ""] if lines else []


# Keys of a config and its sources that speak of the machine and not of the model.
PLACES = ("directory", "data_dir", "stop_after")


def _data(meta: dict[str, Any]) -> list[str]:
    sources = [_shareable(source) for source in meta.get("sources") or ()]
    if not sources:
        return ["## Data", "", "Not recorded in the checkpoint.", ""]
    keys = list(dict.fromkeys(key for source in sources for key in source))
    rows = [_row(*(source.get(k, "") for k in keys)) for source in sources]
    lines = ["## Data", "", _row(*keys), "|" + "---|" * len(keys), *rows, ""]
    mixture = meta.get("manifest")
    if mixture:
        lines += [
            _plain(
                f"Drawn as a curated manifest of {mixture['leaves']} clusters says (hash "
                f"{mixture['hash']})."
            ),
            "",
        ]
    return lines


def _training(meta: dict[str, Any]) -> list[str]:
    if "config" not in meta:
        return ["## Training", "", "Not recorded in the checkpoint.", ""]
    config = json.dumps(_shareable(meta["config"]), indent=1)
    return ["## Training", "", "```json", config, "```", ""]


def _shareable(value: Any) -> Any:
    """The value without the machine's folders, as a card is made to be published."""
    if isinstance(value, dict):
        return {k: _shareable(v) for k, v in value.items() if k not in PLACES}
    if isinstance(value, (list, tuple)):
        return [_shareable(v) for v in value]
    # Absolute paths are of the machine; sources are names with slashes.
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _probe(workdir: Path) -> list[str]:
    """The scores that `python -m surgrec_jax.probe` wrote into this workdir."""
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
        level = round(100 * results.get("protocol", {}).get("level", 0.95))
        lines += ["", f"Percent; {level} % bootstrap intervals over test cases."]
        seen = [
            f"{name}, {source}: {about['text']}"
            for name, sources in results.get("overlap", {}).items()
            for source, about in sources.items()
        ]
        lines += [f"\n{_plain(note)}" for note in [*results.get("notes", ()), *seen]]
    return [*lines, ""]


def _row(*cells: Any) -> str:
    """A row of a table: no cell's text can begin another cell."""
    return f"| {' | '.join(_plain(x).replace('|', chr(92) + '|') for x in cells)} |"


def _plain(value: Any) -> str:
    """A text that begins no line and no HTML, and steers no terminal."""
    return escaped(" ".join(html.escape(str(value), quote=False).split()))

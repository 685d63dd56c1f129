"""Pictures of the hardest cases, taken from the stored records."""

import base64
import hashlib
import pathlib
from collections.abc import Mapping

from surgrec_jax.data.loading.decode import UndecodableFrameError
from surgrec_jax.evaluation.report.overlays import farthest, overlays
from surgrec_jax.evaluation.report.units import of_depths
from surgrec_jax.evaluation.vlm.column import picture
from surgrec_jax.records.source import DamagedRecordError, Source

SIDE = 200
MAX_BYTES = 1 << 20


def add_frames(
    measured: dict, opened: Mapping[str, Mapping[str, Source]], folder: pathlib.Path
) -> None:
    """Writes a JPEG per example of `details["hardest"]` into `folder` and notes its file name.

    Of depths the end of the colours is noted, too.

    Args:
        measured: results of `summarise`; changed in place.
        opened: source name -> split -> source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for task in measured["tasks"]:
        sources = opened.get(task["source"])
        if sources is None or task.get("folds"):  # whose records are those of several splits
            continue
        source = sources[task["splits"][2]]
        for case in task["details"]["hardest"]:
            for example in case["examples"]:
                record, time = example["record"], example["time"]
                key = f"{source.fingerprint} {record} {time} {SIDE}{example.get('map', '')}"
                name = hashlib.sha256(key.encode()).hexdigest()[:20] + ".jpg"
                try:
                    if not (folder / name).exists():
                        (folder / name).write_bytes(_drawn(source, task, example))
                    if of_depths(task):
                        where = source, task["track"], record, time
                        example["farthest_mm"] = farthest(*where)
                except (DamagedRecordError, UndecodableFrameError):
                    continue  # the example stays, without a picture
                example["frame"] = name


def _drawn(source: Source, task: Mapping, example: dict) -> bytes:
    """The JPEG of an example; of a map the frame, then truth and prediction over it."""
    record, time = example["record"], example["time"]
    if "map" not in example:
        return picture(source, record, time, SIDE)
    return overlays(source, task["track"], record, time, base64.b64decode(example["map"]))


def data_uri(folder: pathlib.Path, name: str | None) -> str | None:
    """A frame as it is embedded in a page; None where there is none."""
    if not name or pathlib.PurePath(name).name != name:
        return None
    path = folder / name
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    data = path.read_bytes()
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

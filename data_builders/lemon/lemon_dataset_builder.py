"""LEMON / Surg-3M: surgery on YouTube with the procedures shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from data_builders.common.labels.annotations import read_json
from data_builders.common.labels.tracks import presence_classes
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput, BuildError, safe_text

PROCEDURES = (  # by frequency, as the owner counts them
    *("colectomy", "hernia_repair", "appendectomy", "thymectomy", "cholecystectomy"),
    *("adhesiolysis", "low_anterior_resection", "nephrectomy", "esophagectomy"),
    *("nissen_fundoplication", "gastric_bypass", "hysterectomy", "adrenalectomy", "cystectomy"),
    *("splenectomy", "pancreaticoduodenectomy", "gastrectomy", "myomectomy", "hepatectomy"),
    *("pancreatectomy", "small_bowel_resection", "rectopexy", "prostatectomy", "jejunostomy"),
    *("ileocolic_resection", "abdominoperineal_resection", "ulcer_repair", "duodenal_switch"),
    *("pulmonary_lobectomy", "hartmanns", "kidney_transplant", "ampullectomy"),
    *("ileorectal_anastomosis", "vaginectomy", "cecectomy"),
)


class Builder(VideoDatasetBuilder):
    """LEMON / Surg-3M: 4,194 YouTube videos, 35 procedures (several a video), robotic or not."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "It must hold labels.json and the videos YOUTUBEID.mp4."
    VIDEO_LABELS: ClassVar = {
        **presence_classes("procedure", PROCEDURES),
        "robotic": ("no", "yes"),
        "informative": ("no", "yes"),
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"([A-Za-z0-9_-]{11})\.mp4",
            others={"labels": r"(labels)\.json"},
        )
        entries = _entries(self.shared(manual_dir, found["labels"], "labels.json"))
        items, taken = [], {}
        for name, path in found["video"].items():
            same = entries.get(name, [])
            md5 = same[0].get("md5") if len(same) == 1 else None
            if isinstance(md5, str) and taken.setdefault(md5, name) != name:
                reason = f"labels.json gives it the md5 of {taken[md5]}: the same video"
                self.leave_out(path, reason)
                continue
            robotic = len(same) == 1 and same[0].get("robotic")
            domain = {True: "robotic", False: "laparoscopy"}.get(robotic)
            extra = {"entries": [_known(entry) for entry in same]}
            items.append(VideoItem(name, name, "train", domain, path, extra))
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        if len(item.extra["entries"]) != 1:
            raise BadInput(item.path, f"has {len(item.extra['entries'])} entries in labels.json")
        (entry,) = item.extra["entries"]
        names, labels = entry["procedureName"], {}
        if not isinstance(names, list) or not names or not set(names) <= set(PROCEDURES):
            raise BadInput(
                item.path, f"labels.json: procedureName is {names!r}; known are 35 names"
            )
        for name, track in zip(PROCEDURES, presence_classes("procedure", PROCEDURES), strict=True):
            labels[track] = int(name in names)
        for key in ("robotic", "informative"):
            if entry[key] is not None and not isinstance(entry[key], bool):
                raise BadInput(
                    item.path, f"labels.json: {key} is {entry[key]!r}, not true or false"
                )
            labels[key] = -1 if entry[key] is None else int(entry[key])
        return OpenedVideo(item.path, {}, labels)


def _known(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = entry.get("procedureName")
    if isinstance(names, list):
        names = [name if isinstance(name, str) else repr(name) for name in names]
    flags = {key: entry.get(key) for key in ("robotic", "informative")}
    plain = {k: v if v is None or isinstance(v, bool) else repr(v) for k, v in flags.items()}
    return {"procedureName": names if isinstance(names, list) else repr(names), **plain}


def _entries(table: Path) -> dict[str, list[Mapping[str, Any]]]:
    try:
        data = read_json(table)
    except BadInput as error:
        raise BuildError(f"{error}; download it anew.") from error
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise BuildError(f"{safe_text(table)} is not a list of videos; download it anew.")
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for k, entry in enumerate(data):
        if not isinstance(entry.get("youtubeId"), str):
            raise BuildError(f"{safe_text(table)}: entry {k} has no youtubeId; download it anew.")
        entries.setdefault(entry["youtubeId"], []).append(entry)
    return entries

"""The summary of a build: counts per split, what was skipped or kept with faults, and why."""

import dataclasses
from pathlib import Path
from typing import Any

from data_builders.common.labels import label_counts

# Fields of a summary, and of a shard's result, that list files with what was said of them.
LISTINGS = ("skipped", "partial", "noted")


@dataclasses.dataclass
class SplitSummary:
    """Counts of one split. `bytes` are those of the records."""

    videos: int = 0
    segments: int = 0
    frames: int = 0
    bytes: int = 0


@dataclasses.dataclass
class BuildSummary:
    """The outcome of a build.

    Attributes:
        name: the data set's name, `name/config/version`.
        directory: where it stands.
        splits: counts per split; a split none of whose videos could be read is missing.
        skipped: (path, reason) of every video that gave no record, and of files passed over.
        partial: (path, what was wrong) of every video that was read in part, repaired, or whose
            annotations do not fit its length.
        noted: (path, what was chosen or converted) of sound videos that are out of the ordinary.
        filtered: curation filter -> (videos it changed or left out, frames it left out of videos),
            of those switched on.
        dealt: what became of the splits of the build before, where there was one.
        notes: what is wrong with the source as a whole, kept as it is.
        labels: seconds of every class of every track, and videos of every class of a label of whole
            videos; see `label_counts`.
        remarks: what the user should know of how their files were read.
        source_seconds: seconds of source video read.
        seconds: wall time of this run.
        shards, resumed: shards in all, and those found finished from an earlier run.
        fresh: False when the data set was there already and nothing was done.
    """

    name: str
    directory: Path
    splits: dict[str, SplitSummary]
    skipped: list[tuple[str, str]]
    partial: list[tuple[str, str]]
    source_seconds: float
    seconds: float
    shards: int
    resumed: int = 0
    fresh: bool = True
    notes: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    noted: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    filtered: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    dealt: str = ""
    labels: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)

    def text(self) -> str:
        """The summary as lines for a terminal."""
        total = SplitSummary()
        lines = [f"{'split':<12}{'videos':>9}{'segments':>10}{'frames':>11}{'size':>11}"]
        for split, counts in self.splits.items():
            lines.append(_row(split, counts))
            for field in dataclasses.fields(SplitSummary):
                summed = getattr(total, field.name) + getattr(counts, field.name)
                setattr(total, field.name, summed)
        if len(self.splits) > 1:
            lines.append(_row("all", total))
        lines += label_counts.lines(self.labels)
        told = ("skipped", self.skipped), ("kept with faults", self.partial), ("noted", self.noted)
        for title, entries in told:
            if entries:
                lines.append(f"{title}: {len(entries)}")
                lines += [f"  {path}: {reason}" for path, reason in entries]
        for name, (videos, frames) in self.filtered.items():
            left_out = {"crop_borders": "", "drop_duplicates": " left out"}
            more = left_out.get(name, f", {frames} frames left out")
            lines.append(f"{name}: {videos} videos{more}")
        if self.dealt:
            lines.append(f"splits: {self.dealt}")
        if self.notes:
            lines += ["kept as published:", *(f"  {note}" for note in self.notes)]
        if self.remarks:
            lines += ["notes:", *(f"  {remark}" for remark in self.remarks)]
        if self.fresh:
            resumed = f", {self.resumed} of them from an earlier run" if self.resumed else ""
            lines.append(
                f"{self.source_seconds:.0f} s of video in {self.seconds:.1f} s; {self.shards} "
                f"shard(s){resumed}"
            )
        lines.append(f"{self.name} is ready in {self.directory}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"directory": None}  # a data set may be moved

    @classmethod
    def from_json(cls, data: dict[str, Any], directory: Path) -> "BuildSummary":
        data = {"noted": ()} | data | {"directory": directory, "fresh": False}
        data["splits"] = {name: SplitSummary(**counts) for name, counts in data["splits"].items()}
        data |= {name: [tuple(entry) for entry in data[name]] for name in LISTINGS}
        return cls(**data)


def _row(name: str, counts: SplitSummary) -> str:
    return (
        f"{name:<12}{counts.videos:>9}{counts.segments:>10}{counts.frames:>11}"
        f"{human_bytes(counts.bytes):>11}"
    )


def human_bytes(count: float) -> str:
    """12345678 -> '11.8 MiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

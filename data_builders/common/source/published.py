"""The configuration `surgrec_v1`: a source's clips, labels and splits as SurgRec released them.

Faults are included. Every source of the release has it beside its own (see builder.py).
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.common.source.items import Hooks, OpenedVideo, VideoConfig, VideoItem
from surgrec_jax.audit import rules, surgrec_v1
from surgrec_jax.records.errors import BadInput, BuildError, check_inside, safe_text

NAME = "surgrec_v1"


@dataclasses.dataclass(eq=False, kw_only=True)
class PublishedConfig(VideoConfig):
    """One folder of the release.

    Attributes:
        folder: its name there.
        splits_dir: the user's copy of the split files: FOLDER/{train,val,test}.csv below it.
    """

    name: str = NAME
    folder: str
    splits_dir: str | None = None

    def hooks(self, builder) -> "PublishedClips":
        return PublishedClips(builder, self)


def published_config(source: str) -> PublishedConfig | None:
    """The configuration of a source that is in the release; None for any other."""
    if source not in surgrec_v1.BY_SOURCE:
        return None
    folder = surgrec_v1.BY_SOURCE[source].folder
    about = f"Clips, labels and splits of the folder {folder} of the SurgRec release."
    return PublishedConfig(folder=folder, description=about)


class PublishedClips(Hooks):
    """A substitute for a builder's own listing, labels and classes, made of rows of split files.

    The builder's manual_dir holds the clips that they name, cut in advance.
    """

    ALLOW_SHARED_CASES = True  # as published

    def __init__(self, builder, config: PublishedConfig):
        self.builder, self.config = builder, config
        self.entry = surgrec_v1.BY_FOLDER[config.folder]

    def video_label_names(self) -> Mapping[str, Sequence[str]]:
        return {"label": self.entry.classes}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        config, entry, name = self.config, self.entry, f"{self.builder.name}/{NAME}"
        if manual_dir is None or config.splits_dir is None:
            raise BuildError(
                f"{name} needs --splits_dir, your copy of the published split files, and "
                "--manual_dir, the clips they name."
            )
        if not manual_dir.is_dir():
            raise BuildError(f"--manual_dir {safe_text(manual_dir)} is not a folder.")
        folders = surgrec_v1.find_folders(Path(config.splits_dir))
        if config.folder not in folders:
            raise BuildError(
                f"--splits_dir {safe_text(config.splits_dir)} holds no folder {config.folder!r}; "
                f"there: {', '.join(sorted(folders))}."
            )
        files = folders[config.folder]
        try:
            splits = surgrec_v1.read_folder(files)
        except BadInput as error:
            raise BuildError(f"{error}.") from error
        data = rules.from_split_files(config.folder, files)
        self.builder.notes += [
            f"{finding.rule}: {finding.text}" for finding in rules.findings(data, rules.facts(data))
        ]
        items = []
        for split, rows in splits.items():
            times = Counter()
            for row in rows:
                if row.label >= len(entry.classes):
                    raise BuildError(
                        f"{safe_text(files[split])}:{row.line}: label {row.label} is no class of "
                        f"{config.folder}; it has 0 to {len(entry.classes) - 1}."
                    )
                times[row.path] += 1
                again = f"#{times[row.path]}" if times[row.path] > 1 else ""
                items.append(
                    VideoItem(
                        video_id=row.path + again,
                        case_id=entry.case_of(row.path) or f"unknown/{row.path}",
                        split=split,
                        domain=entry.domain,
                        path=_clip(manual_dir, config.folder, row.path),
                        extra={"label": row.label},
                    )
                )
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        check_inside(item.path, self.builder.manual_dir)
        return OpenedVideo(item.path, video_labels={"label": item.extra["label"]})


def _clip(clips_dir: Path, folder: str, name: str) -> Path:
    """Where a row's clip is: paths may or may not begin with the folder's name."""
    with_folder = clips_dir / folder / name
    if not (clips_dir / name).exists() and with_folder.exists():
        return with_folder
    return clips_dir / name

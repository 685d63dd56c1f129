"""The published SurgRec benchmark as released: one configuration per folder, faults included."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.common import audit, surgrec_v1
from data_builders.common.builder import OpenedVideo, VideoConfig, VideoDatasetBuilder, VideoItem
from data_builders.common.errors import BadInput, BuildError, check_inside, safe_text


@dataclasses.dataclass(eq=False, kw_only=True)
class SurgrecConfig(VideoConfig):
    """One folder of the release.

    Attributes:
      folder: its name there.
      splits_dir: the user's copy of the split files: FOLDER/{train,val,test}.csv below it.
    """

    folder: str
    splits_dir: str | None = None

    @property
    def published(self) -> surgrec_v1.Published:
        return surgrec_v1.BY_FOLDER[self.folder]


class Builder(VideoDatasetBuilder):
    """The published SurgRec clips, labels and splits, exactly as released (also their faults)."""

    BUILDER_CONFIGS: ClassVar[list[VideoConfig]] = [
        SurgrecConfig(
            name=entry.source,
            folder=entry.folder,
            description=f"The folder {entry.folder} of the release.",
        )
        for entry in surgrec_v1.PUBLISHED
    ]
    ALLOW_SHARED_CASES = True  # as published
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The clips, cut in advance as the SurgRec release expects them, and a copy of its split "
        "files (config.splits_dir)."
    )

    @classmethod
    def add_arguments(cls, parser) -> None:
        parser.add_argument("--splits_dir", help="your copy of the published split files")
        parser.add_argument(
            "--clips_dir", dest="manual_dir", help="the clips they name (same as --manual_dir)"
        )

    @classmethod
    def config_from_arguments(cls, args) -> SurgrecConfig:
        names = {config.folder: config for config in cls.BUILDER_CONFIGS}
        names |= {config.name: config for config in cls.BUILDER_CONFIGS}
        if args.config not in names:
            raise BuildError(
                f"--config {args.config!r}: choose a folder of the release: "
                f"{', '.join(config.name for config in cls.BUILDER_CONFIGS)}."
            )
        return dataclasses.replace(names[args.config], splits_dir=args.splits_dir)

    def video_label_names(self) -> Mapping[str, Sequence[str]]:
        return {"label": self.builder_config.published.classes}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        config, entry = self.builder_config, self.builder_config.published
        if manual_dir is None or config.splits_dir is None:
            raise BuildError(
                "surgrec_v1 needs --splits_dir, your copy of the published split files, and "
                "--clips_dir, the clips they name."
            )
        if not manual_dir.is_dir():
            raise BuildError(f"--clips_dir {safe_text(manual_dir)} is not a folder.")
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
            raise BuildError(str(error)) from error
        data = audit.from_split_files(config.folder, files)
        self.notes = [
            f"{finding.rule}: {finding.text}" for finding in audit.findings(data, audit.facts(data))
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
        check_inside(item.path, self.manual_dir)
        return OpenedVideo(item.path, video_labels={"label": item.extra["label"]})


def _clip(clips_dir: Path, folder: str, name: str) -> Path:
    """Where a row's clip is: paths may or may not begin with the folder's name."""
    with_folder = clips_dir / folder / name
    if not (clips_dir / name).exists() and with_folder.exists():
        return with_folder
    return clips_dir / name

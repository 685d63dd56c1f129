"""The rules of a comparison, by the name of its protocol, and the settings of a comparison."""

import dataclasses

from surgrec_jax.evaluation.heads.map_heads import MAP_HEADS
from surgrec_jax.evaluation.heads.registry import HEADS
from surgrec_jax.evaluation.tasks.labelled_task import RESAMPLE
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task
from surgrec_jax.models.resize import METHODS
from surgrec_jax.safety.errors import ConfigError

CLIP = tuple[int, int, float]  # (frames, side in pixels, frames per second)


@dataclasses.dataclass(frozen=True)
class Rules:
    """The values that a protocol fixes; None leaves a value to the settings.

    Attributes:
        title: of the protocol, in reports.
        notes: sentences that reports print with every table.
        clean: refuse splits that share cases, and validation that is the test.
        published: ask the published clips (configuration surgrec_v1 of a source), not the source.
        metric: the headline metric of all tasks.
        heads, clips_per_video, crops, train_resample: as in Settings.
        shares: of the training cases, a row of the table each.
        finetune: the whole encoder is trained, not a head.
    """

    title: str
    notes: tuple[str, ...] = ()
    clean: bool = True
    published: bool = False
    metric: str | None = None
    heads: tuple[str, ...] | None = None
    clips_per_video: int | None = None
    crops: int | None = None
    train_resample: str | None = None
    shares: tuple[float, ...] = (1.0,)
    finetune: bool = False


RULES: dict[str, Rules] = {
    "v2": Rules("v2: clean labels, splits by case, choices on validation cases"),
    "v1": Rules(
        "v1: the published SurgRec protocol, its faults included",
        notes=(
            "Protocol v1 repeats the published SurgRec protocol, faults included: its clips, "
            "labels and split files as they are (validation is often the test split, cases stand "
            "in several splits), frozen backbone, a linear head trained 50 epochs, the epoch chosen"
            " on the validation split, mean probability of 5 x 3 views spread over the whole clip, "
            "top-1. Compare with published numbers only.",
            "Not repeated: augmentation of the head's training pixels (features are cached; an "
            "epoch draws one of a clip's 15 views), the choice of the epoch by one view of each "
            "clip (here by all), frames taken by their number in the file (here by the encoder's "
            "rate), and the errors of the published loading of checkpoints. The learning rate and "
            "label smoothing are not published; VideoMAE's are used.",
        ),
        clean=False,
        published=True,
        metric="top1",
        heads=("published",),
        clips_per_video=5,
        crops=3,
        train_resample="none",
    ),
    "few-shot": Rules(
        "few-shot: 1, 5, 10 and 100 % of the training cases",
        notes=(
            "Every seed draws its own cases, at least one, without replacement (at 100 %: all, "
            "once); classes that a draw lacks stay in the test and count as errors. Validation "
            "cases are not reduced.",
        ),
        train_resample="none",
        shares=(0.01, 0.05, 0.1, 1.0),
    ),
    "fine-tune": Rules(
        "fine-tune: the whole encoder is trained on every task",
        notes=(
            "The whole encoder is trained on the training cases (configs/finetune.py), on the "
            "label of the frame that the task scores; its last checkpoint is scored, unless the "
            "path names a step.",
        ),
        finetune=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a comparison; configs/evaluation.py explains the values of the same names.

    Attributes:
        clip: (frames, side, fps) that every encoder must take; None: each encoder sees clips of its
            own length, size and rate, which the results name.
        resize: how positions of an encoder of another clip are resized to it (`models.resize`); ""
            refuses the encoder.
        clips_per_video: instead of clips_per_record: so many clips spread over each video, and each
            crop as a clip of its own, so that probabilities and not features are averaged; 0 = not
            so.
        shares: of the training cases; see few-shot.
        map_heads, map_side, maps_per_record: of tasks about label maps only.
        folds: of cross-validation over cases (`tasks.folds`); 0 for the splits of the data set.
    """

    heads: tuple[str, ...] = ("linear", "knn")
    seeds: int = 3
    init_seeds: int = 2
    clips_per_record: int = 2
    crops: int = 1
    train_resample: str = "cases"
    resamples: int = 2000
    level: float = 0.95
    protocol: str = "v2"
    clip: CLIP | None = None
    resize: str = ""
    clips_per_video: int = 0
    shares: tuple[float, ...] = (1.0,)
    map_heads: tuple[str, ...] = ("dense_linear",)
    map_side: int = 112
    maps_per_record: int = 8
    folds: int = 0

    def __post_init__(self):
        if self.protocol not in RULES:
            raise ConfigError(f"protocol={self.protocol!r}: choose from {', '.join(RULES)}")
        for field, known in (("heads", HEADS), ("map_heads", MAP_HEADS)):
            given = getattr(self, field)
            if not given or not set(given) <= set(known):
                raise ConfigError(f"{field}={','.join(given)}: choose from {', '.join(known)}")
        if self.map_side < 8 or self.maps_per_record < 0:
            raise ConfigError(
                f"map_side={self.map_side} must be at least 8, "
                f"maps_per_record={self.maps_per_record} at least 0"
            )
        least = dict.fromkeys(("seeds", "init_seeds", "crops", "resamples"), 1)
        for field, value in (least | {"clips_per_record": 0}).items():
            if getattr(self, field) < value:
                raise ConfigError(f"{field}={getattr(self, field)}: must be at least {value}")
        if self.train_resample not in RESAMPLE:
            raise ConfigError(f"train_resample={self.train_resample!r}: choose from {RESAMPLE}")
        if self.resize and (self.resize not in METHODS or self.clip is None):
            raise ConfigError(
                f"resize={self.resize!r}: choose from {METHODS}, and give the clip as well, for "
                "example --config.clip=32x96@8"
            )
        if self.folds and (self.folds < 3 or self.protocol != "v2"):
            raise ConfigError(
                f"folds={self.folds} with protocol={self.protocol!r}: cross-validation is of "
                "protocol v2, with at least 3 folds; 0 takes the splits"
            )
        if not 0.5 <= self.level < 1:
            raise ConfigError(f"level={self.level}: must be in [0.5, 1), for example 0.95")
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares={self.shares}: each must be above 0 and at most 1")

    @property
    def rules(self) -> Rules:
        return RULES[self.protocol]

    @property
    def title(self) -> str:
        """What the protocol is called in reports."""
        folds = f", cross-validated over cases in {self.folds} folds" if self.folds else ""
        return self.rules.title + folds

    def under(self, protocol: str) -> "Settings":
        """These settings with the values that a protocol fixes."""
        chosen = dataclasses.replace(self, protocol=protocol)
        fields = ("heads", "clips_per_video", "crops", "train_resample", "shares")
        fixed = {field: getattr(chosen.rules, field) for field in fields}
        return dataclasses.replace(chosen, **{k: v for k, v in fixed.items() if v is not None})

    def task(self, task: Task) -> Task:
        """The task with the headline metric of the protocol.

        Raises:
            RefusedTaskError: the task has no such metric.
        """
        metric = self.rules.metric or task.metric
        if metric not in task.metrics:
            raise RefusedTaskError(
                f"task {task.name} has no {metric}, which protocol {self.protocol} reports"
            )
        return dataclasses.replace(task, metric=metric)

    def of_task(self, task: Task) -> dict:
        """The values that a task's cells depend on."""
        values, maps = dataclasses.asdict(self), ("map_heads", "map_side", "maps_per_record")
        left_out = () if task.unit == "pixel" else maps
        left_out += () if self.folds else ("folds",)
        return {k: v for k, v in values.items() if k not in left_out}

    def rows(self, task: Task | None = None) -> list[tuple[str, str, float]]:
        """(table row, head, share of the training cases); none where encoders are trained whole."""
        if self.rules.finetune:
            return []
        return [
            (head if share == 1 else f"{head}, {share:.0%} of cases", head, share)
            for head in (self.map_heads if task and task.unit == "pixel" else self.heads)
            for share in sorted(self.shares, reverse=True)
        ]


def parse_clip(text: str) -> CLIP | None:
    """A clip from a text such as "16x224@4", here (16, 224, 4.0); None for an empty one.

    Raises:
        ConfigError: the text has another form.
    """
    if not text:
        return None
    try:
        frames, rest = text.split("x")
        size, fps = rest.split("@")
        return int(frames), int(size), float(fps)
    except ValueError:
        raise ConfigError(f"clip {text!r} is not FRAMESxSIDE@FPS, for example 16x224@4") from None

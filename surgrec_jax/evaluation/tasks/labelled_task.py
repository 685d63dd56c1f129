"""A task with the labels of its splits, and the training examples that count for a seed."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.evaluation.tasks.task import (
    RefusedTaskError,
    Task,
    check_empty,
    check_splits,
    leaks,
)
from surgrec_jax.safety.errors import ConfigError

RESAMPLE = ("cases", "clips", "none")
_MAX_DRAWS = 1000
_FEW_DRAWS = 100


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled clips of one split.

    Attributes:
        rows: int [n], positions among the split's features.
        labels: int [n], or [n, K] of 1, 0, -1 for multi-label.
        case_id, video_id: text [n].
        record, view: int [n].
        time: float [n], seconds from the start of the video.
        unlabelled_clips: clips that were left out because they have no label.
        unlabelled_videos: videos none of whose clips has one.
    """

    rows: np.ndarray
    labels: np.ndarray
    case_id: np.ndarray
    video_id: np.ndarray
    record: np.ndarray
    view: np.ndarray
    time: np.ndarray
    unlabelled_clips: int = 0
    unlabelled_videos: int = 0

    def where(self, chosen: np.ndarray) -> "Split":
        """The clips of a mask bool [n], or of numbers int [m]."""
        arrays = ("rows", "labels", "case_id", "video_id", "record", "view", "time")
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


@dataclasses.dataclass(frozen=True)
class LabelledTask:
    """A task with the labels of its three splits, the same for all encoders that see these clips.

    Attributes:
        leaks: a sentence for each two splits that share cases; empty unless the protocol takes
            splits as they are.
        folds: under cross-validation a task for each; the test is then of all cases.
    """

    task: Task
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    leaks: tuple[str, ...] = ()
    folds: tuple["LabelledTask", ...] = dataclasses.field(default=(), kw_only=True)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes of the test split without a training example; they stay, and count as errors."""
        if self.folds:
            lacking = {name for fold in self.folds for name in fold.unseen}
            return tuple(name for name in self.classes if name in lacking)
        if self.task.multi_label:
            in_train = (self.train.labels == 1).any(0)
            in_test = (self.test.labels == 1).any(0)
        else:
            ids = np.arange(len(self.classes))
            in_train, in_test = np.isin(ids, self.train.labels), np.isin(ids, self.test.labels)
        return tuple(np.asarray(self.classes)[in_test & ~in_train].tolist())

    def units(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Labels [U] or [U, K] and case ids [U] of the scored units: clips, frames or videos."""
        if self.task.unit != "video":
            return split.labels, split.case_id
        _, first, group = np.unique(split.video_id, return_index=True, return_inverse=True)
        if (split.labels != split.labels[first][group]).any():
            raise RefusedTaskError(
                f"task {self.task.name} has unit video, but {self.task.track!r} changes within a "
                "video"
            )
        return split.labels[first], split.case_id[first]

    def order(self, split: Split) -> registry.Order:
        """The video and the time of each scored unit."""
        if self.task.unit != "video":
            return registry.Order(split.video_id, split.time)
        videos = np.unique(split.video_id)
        return registry.Order(videos, np.zeros(len(videos)))

    def score(self, metric: str, split: Split, scores: np.ndarray) -> float:
        """A metric of the units' scores [U, C]; columns beyond the classes are no answers."""
        labels, _ = self.units(split)
        order, count = self.order(split), len(self.classes)
        return float(registry.score(metric, labels, scores, order=order, num_classes=count))

    def pool(self, split: Split, scores: np.ndarray) -> np.ndarray:
        """Scores of clips [..., n, C] -> of units [..., U, C]: means over clips for videos."""
        if self.task.unit != "video":
            return scores
        _, group = np.unique(split.video_id, return_inverse=True)
        member = (group[None] == np.arange(group.max() + 1)[:, None]).astype(np.float64)  # [U, n]
        return (member / member.sum(1, keepdims=True)) @ scores


def label_task(
    task: Task,
    available: Mapping[str, Sequence[str]],
    splits: Mapping[str, Features],
    *,
    clean: bool = True,
) -> LabelledTask:
    """The task with the labels of its splits; clips without a label are left out.

    Args:
        task: the task.
        available: label name -> class names of the source.
        splits: split name -> features (only labels and ids are used here).
        clean: refuse splits that share cases; otherwise they are noted in `leaks`.

    Raises:
        LeakedSplitError: splits share cases, and they must be clean.
        RefusedTaskError: no such label, a split without a labelled clip, a label that changes
            within a video of a task with that unit, or a training split with one class.
    """
    parts = [label_split(task, available, splits[name]) for name in task.splits]
    cases = {name: part.case_id for name, part in zip(task.splits, parts, strict=True)}
    (check_splits if clean else check_empty)(task, cases)
    labelled = LabelledTask(task, task.classes(available), *parts, tuple(leaks(task, cases)))
    for part in parts:
        labelled.units(part)  # finds a label that changes within a unit before any training
    check_classes(labelled)
    return labelled


def label_split(task: Task, available: Mapping[str, Sequence[str]], clips: Features) -> Split:
    """The labelled clips of a split; raises RefusedTaskError where it has no such label."""
    columns = task.columns(clips.labels, task.tracks(available))  # [M, K]
    rows = np.flatnonzero((columns >= 0).any(1))
    labels = columns[rows] if task.multi_label else columns[rows, 0]
    fields = (clips.case_id, clips.video_id, clips.record, clips.view, clips.time)
    unlabelled_videos = len(np.unique(clips.video_id)) - len(np.unique(clips.video_id[rows]))
    columns_of_rows = (field[rows] for field in fields)
    return Split(rows, labels, *columns_of_rows, len(clips) - len(rows), unlabelled_videos)


def check_classes(labelled: LabelledTask) -> None:
    """Refuses a task whose training has one class only."""
    task = labelled.task
    if not task.multi_label and len(np.unique(labelled.train.labels)) < 2:
        raise RefusedTaskError(f"task {task.name} refused: the training split has one class only")


def one_hot(labelled: LabelledTask, labels: np.ndarray) -> np.ndarray:
    """Targets float [n, C]; NaN where a label of a multi-label task is unknown."""
    if labelled.task.multi_label:
        return np.where(labels < 0, np.nan, labels.astype(np.float64))
    return np.eye(len(labelled.classes))[labels]


def train_weights(
    labelled: LabelledTask, seed: int, resample: str, share: float = 1.0
) -> np.ndarray:
    """The weight of each training example for a probe seed: float [n].

    Of a share below 1 of the training cases they are those of `few_cases`; else as `resample` says.

    "cases": training cases drawn with replacement. "clips": one random clip of each stored record.
    "none": all once. Draws that lose a class of the training split (or all labels of one column)
    are drawn again.

    Of several labels, those of a single case may together make such a draw too rare: after 1000
    draws labels of one case may be lost, after 1000 more those of two, and so on; the head of a
    lost label has learnt nothing, and the other labels' heads do not notice. `missing_classes`
    counts the lost ones.

    Raises:
        RefusedTaskError: for one class per clip, no such draw in 1000.
    """
    if share < 1:
        return few_cases(labelled, seed, share)
    split = labelled.train
    if resample not in RESAMPLE:
        raise ConfigError(f"train_resample {resample!r} is not one of {', '.join(RESAMPLE)}")
    if resample == "none":
        return np.ones(len(split.labels))
    rng = np.random.default_rng([seed, 101])
    targets = one_hot(labelled, split.labels)
    # Columns that must keep weight: each class, or each label's positives and its known entries.
    need = np.concatenate([np.nan_to_num(targets), ~np.isnan(targets)], 1) > 0
    need = need[:, need.any(0)].astype(np.float64)
    cases, case_index = np.unique(split.case_id, return_inverse=True)
    records, record_index = np.unique(split.record, return_inverse=True)
    held = np.stack([need[case_index == c].any(0) for c in range(len(cases))]).astype(np.float64)
    spread = held.sum(0).astype(int)  # cases that hold each column
    rounds = spread.max() if labelled.task.multi_label else 1
    for attempt in range(_MAX_DRAWS * rounds):
        if resample == "cases":
            drawn = np.bincount(rng.integers(len(cases), size=len(cases)), minlength=len(cases))
            weights, weight_of = drawn[case_index].astype(np.float64), drawn @ held
        else:
            order = rng.permutation(len(split.labels))
            _, first = np.unique(record_index[order], return_index=True)
            weights = np.zeros(len(split.labels))
            weights[order[first]] = 1.0
            weight_of = weights @ need
        if (weight_of[spread > attempt // _MAX_DRAWS] > 0).all():
            return weights
    raise RefusedTaskError(
        f"task {labelled.task.name}: no draw of {resample} in {_MAX_DRAWS} keeps every training "
        "class "
        f"({len(cases)} cases, {len(records)} records); use train_resample=none"
    )


def few_cases(labelled: LabelledTask, seed: int, share: float) -> np.ndarray:
    """Weights [n] of training with a share of the cases: 1 for the clips of drawn cases, else 0.

    Draws with fewer than two classes (or, for several labels, without any positive) are drawn
    again; if a hundred draws fail, one case more is taken, and so on. Other classes may be missing:
    `missing_classes` counts them.

    Raises:
        ConfigError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share of cases {share}: must be above 0 and at most 1")
    split = labelled.train
    cases, index = np.unique(split.case_id, return_inverse=True)
    rng = np.random.default_rng([seed, 103])
    drawn = np.ones(len(split.labels), bool)
    for attempt in range(_FEW_DRAWS * len(cases)):
        count = max(1, round(share * len(cases))) + attempt // _FEW_DRAWS
        drawn = np.isin(index, rng.permutation(len(cases))[:count])
        labels = split.labels[drawn]
        if (labels == 1).any() if labelled.task.multi_label else len(np.unique(labels)) > 1:
            break
    return drawn.astype(np.float64)


def missing_classes(labelled: LabelledTask, weights: np.ndarray) -> int:
    """The number of test classes without a training example of positive weight."""
    in_train = np.nan_to_num(one_hot(labelled, labelled.train.labels[weights > 0])).any(0)
    in_test = np.nan_to_num(one_hot(labelled, labelled.test.labels)).any(0)
    return int((in_test & ~in_train).sum())

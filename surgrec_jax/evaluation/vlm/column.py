"""The column of a vision-language model: the same test units asked in words, parsed, scored."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import tqdm

from surgrec_jax.data.loading.decode import decode_frames
from surgrec_jax.evaluation.benchmark import cells
from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED, Column
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.heads.run_head import Answer
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.evaluation.vlm import answers
from surgrec_jax.evaluation.vlm import endpoint as vlm
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import ConfigError, DataError

_EXAMPLES = 3  # unparseable answers that the report quotes


@dataclasses.dataclass(frozen=True)
class Asker:
    """Asks a model, or reads its saved answers.

    Attributes:
        endpoint: None = only saved answers.
        folder: of the answers; new ones are added as they come, so that a stopped run goes on.
        frames: of every clip.
        side: largest side of the pictures sent.
        phrasings: of every question.
        max_units: asked per task, 0 = all.
        clip: (frames, side, fps) that the probes see; the pictures are from its span.
    """

    name: str
    settings: Settings
    clip: tuple[int, int, float]
    endpoint: vlm.Endpoint | None
    folder: pathlib.Path
    frames: int = 4
    side: int = 336
    phrasings: int = 3
    max_units: int = 0

    @property
    def column(self) -> Column:
        """Its column; what its cells depend on stands in facts["key"]."""
        fields = ("frames", "side", "phrasings", "max_units")
        key: dict = {field: getattr(self, field) for field in fields} | {"clip": list(self.clip)}
        if self.endpoint:
            key |= {"address": self.endpoint.address, "model": self.endpoint.model}
        else:
            digest = hashlib.sha256()
            for path in sorted(self.folder.glob("*.jsonl")):
                digest.update(path.name.encode() + path.read_bytes())
            key["answers"] = digest.hexdigest()
        return Column(self.name, "vlm", facts={"key": key})

    def ask(self, labelled: LabelledTask, sources: Mapping[str, Source]) -> cells.Cell:
        """The cell of a task.

        Raises:
            vlm.EndpointError: the endpoint stops answering; what it said is kept.
            DataError: no saved answer fits the task, or the folder holds something else, such as
                another model's answers.
        """
        task = labelled.task
        total = len(_units(labelled))
        labelled = _some_units(labelled, self.max_units)
        units = _units(labelled)
        path = answers.path_of(self.folder, task.source, task.name)
        about = self._about(task)
        saved = self._saved(path, about)
        source = sources[task.splits[2]]
        listed = answers.path_of(self.folder, task.source, task.name, ".units")
        questions = [
            vlm.question(task.kind, labelled.classes, task.multi_label, p, self.frames)
            for p in range(self.phrasings)
        ]
        if self.endpoint is None and not any((unit, 0) in saved for unit in units):
            asked = {"questions": [question.text for question in questions]}
            answers.write_units(listed, [asked, *({"unit": unit} for unit in units)])
            raise DataError(
                f"{path} holds no answer about the {len(units)} test units of {task.title}; what "
                f"to ask stands in {listed}"
            )
        if self.endpoint is not None:
            missing = [u for u in units if any((u, p) not in saved for p in range(self.phrasings))]
            for unit in tqdm.tqdm(missing, desc=f"asking {self.name}: {task.title}", disable=None):
                pictures = self._pictures(labelled, source, units[unit])
                for p, question in enumerate(questions):
                    if (unit, p) not in saved:
                        saved[unit, p] = self.endpoint.ask(question.text, pictures)
                        answers.append(path, unit, p, saved[unit, p], about)
        scores, facts = _read_answers(list(units), questions, saved, len(labelled.classes))
        row = next((row for row, _, _ in self.settings.rows()), FINE_TUNED)
        return cells.make(
            labelled,
            self.name,
            {row: Answer(scores)},
            resamples=self.settings.resamples,
            level=self.settings.level,
            extra={"vlm": {**facts, "total": total}, "row": row},
        )

    def _about(self, task: Task) -> dict:
        """The facts that its answers about a task depend on, besides unit and phrasing."""
        frames, _, fps = self.clip  # pictures have a side of their own
        about = {"frames": self.frames, "side": self.side, "clip": [frames, fps]}
        if task.unit == "video":  # whose pictures are the centres of its clips
            per = "clips_per_video" if self.settings.clips_per_video else "clips_per_record"
            about[per] = getattr(self.settings, per)
        return ({"model": self.endpoint.model} if self.endpoint else {}) | about

    def _saved(self, path: pathlib.Path, wanted: dict) -> dict[tuple[str, int], str]:
        """The answers in a file; one that does not say its subject is taken if nothing is added.

        Raises:
            DataError: they are another model's, or about other pictures.
        """
        saved, about = answers.read(path)
        unknown = not about and (self.endpoint is None or not saved)
        if unknown or all(about.get(name) == value for name, value in wanted.items()):
            return saved
        told = json.dumps(about)[:200] if about else "what it does not say"
        raise DataError(
            f"{path} holds answers about {told}; asked is {json.dumps(wanted)}: "
            "give another folder as vlm.answers"
        )

    def _pictures(self, labelled: LabelledTask, source: Source, rows: np.ndarray) -> list[bytes]:
        """JPEG pictures of a unit: frames spread over its clip, or over the clips of its video."""
        split = labelled.test
        if labelled.task.unit == "video":
            at = rows[np.linspace(0, len(rows) - 1, self.frames).round().astype(int)]
            wanted = [(int(split.record[i]), float(split.time[i])) for i in at]
        else:
            (i,) = rows
            frames, _, fps = self.clip
            first = split.time[i] - (frames // 2) / fps
            times = first + np.linspace(0, (frames - 1) / fps, self.frames)
            wanted = [(int(split.record[i]), float(t)) for t in times]
        return [picture(source, record, time, self.side) for record, time in wanted]


def from_config(config, settings: Settings, clip: tuple[int, int, float]) -> Asker:
    """An asker from `config.vlm`, about the clips of encoders that take `clip`.

    Raises:
        ConfigError: neither an endpoint nor a folder, a key that is not in the environment, or
            numbers out of range.
    """
    if not 1 <= config.phrasings <= vlm.PHRASINGS:
        raise ConfigError(f"vlm.phrasings={config.phrasings}: choose 1 to {vlm.PHRASINGS}")
    if config.frames < 1 or config.side < 16 or config.max_units < 0:
        raise ConfigError("vlm.frames must be at least 1, vlm.side 16, vlm.max_units 0")
    key = ""
    if config.key_env:
        if config.key_env not in os.environ:
            raise ConfigError(f"vlm.key_env={config.key_env!r} is not set in the environment")
        key = os.environ[config.key_env]
    endpoint = None
    if config.endpoint:
        if not config.model:
            raise ConfigError("vlm.endpoint needs vlm.model, the model's name there")
        endpoint = vlm.Endpoint(config.endpoint, config.model, key, config.timeout_s)
    if not config.answers:
        raise ConfigError(
            f"vlm.name={config.name!r} needs vlm.answers, the folder of the answers (an endpoint "
            "adds to it)"
        )
    return Asker(
        config.name,
        settings,
        clip,
        endpoint,
        pathlib.Path(config.answers),
        config.frames,
        config.side,
        config.phrasings,
        config.max_units,
    )


def picture(source: Source, record: int, time: float | None, side: int) -> bytes:
    """The stored frame of a record nearest to `time` (None: the middle), a JPEG within `side`."""
    stored = source.record(record)
    at = len(stored.times) // 2 if time is None else int(np.abs(stored.times - time).argmin())
    (image,) = decode_frames(stored.frames, [at])
    height, width = image.shape[:2]
    if max(height, width) > side:
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()


def _units(labelled: LabelledTask) -> dict[str, np.ndarray]:
    """Unit name -> rows of the test split, in the order of the units."""
    split = labelled.test
    if labelled.task.unit == "video":
        videos = np.unique(split.video_id)
        return {str(v): np.flatnonzero(split.video_id == v) for v in videos}
    units: dict[str, np.ndarray] = {}
    for i, (video, time) in enumerate(zip(split.video_id, split.time, strict=True)):
        name, number = f"{video}@{time:.2f}", 1
        while name in units:  # clips of a segment that is too short for two different ones
            number += 1
            name = f"{video}@{time:.2f}#{number}"
        units[name] = np.array([i])
    return units


def _some_units(labelled: LabelledTask, limit: int) -> LabelledTask:
    """The task with at most `limit` test units, spread over the cases; 0 = all."""
    units = list(_units(labelled).values())
    if not limit or len(units) <= limit:
        return labelled
    cases = labelled.test.case_id[[rows[0] for rows in units]]
    rng = np.random.default_rng([len(units), limit])
    order = rng.permutation(len(units))
    turn = np.zeros(len(units), int)  # which unit of its case: first all cases once
    for case in np.unique(cases):
        mine = order[cases[order] == case]
        turn[mine] = np.arange(len(mine))
    chosen = sorted(order[np.argsort(turn[order], kind="stable")][:limit])
    rows = np.sort(np.concatenate([units[i] for i in chosen]))
    return dataclasses.replace(labelled, test=labelled.test.where(rows))


def _read_answers(
    units: Sequence[str], questions: Sequence[vlm.Question], saved: Mapping, classes: int
) -> tuple[np.ndarray, dict]:
    """Scores of parsed answers, and what was unparseable or missing.

    Scores are [phrasings, U, C + 1] (the last column: no answer) or, where several classes may
    apply, [phrasings, U, C] of 0 and 1 (no answer: none).
    """
    several = questions[0].several
    scores = np.zeros((len(questions), len(units), classes + (not several)), np.float32)
    unparseable, missing, examples = [], 0, []
    for p, question in enumerate(questions):
        bad = 0
        for u, unit in enumerate(units):
            answer = saved.get((unit, p))
            chosen = None if answer is None else vlm.parse(question, answer)
            missing += answer is None
            if chosen is None:
                bad += 1
                if answer is not None and len(examples) < _EXAMPLES:
                    examples.append(answer[:120])
                if not several:
                    scores[p, u, classes] = 1
            else:
                scores[p, u, list(chosen)] = 1
        unparseable.append(bad / len(units))
    facts = {
        "units": len(units),
        "phrasings": len(questions),
        "unparseable": unparseable,
        "missing": missing,
        "examples": examples,
    }
    return scores, facts

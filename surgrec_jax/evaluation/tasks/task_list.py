"""The declared tasks.

They are those of the sixteen sets of the SurgRec benchmark under clean labels and splits, four more
sets, the phantom corpus, and the published clips (configuration `surgrec_v1` of a source).

Names of tracks are those of the builders (a test holds them together). Headline metrics: the strict
F1 per video for what is recognised along a video, balanced accuracy for clips and videos, mean
average precision for presence, triplet AP for CholecT50, Spearman for skill, Dice for maps of
classes, the share of pixels within 25 % for maps of depths.
"""

import dataclasses
import os
from collections.abc import Sequence

from surgrec_jax.evaluation.tasks.own_tasks import own_tasks
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.safety.errors import ConfigError


def _along(source: str, track: str, domain: str, kind: str, name: str | None = None) -> Task:
    """Online recognition along videos."""
    return Task(name or track, source, track, "video_f1", "frame", kind=kind, domain=domain)


def _present(source: str, tracks: str, domain: str) -> Task:
    """Which instruments are there, per clip."""
    name, metric = "instruments", "mean_average_precision"
    return Task(name, source, tracks, metric, kind="instruments", domain=domain)


def _video(source: str, label: str, domain: str, kind: str) -> Task:
    """One class per video."""
    return Task(label, source, label, "balanced_accuracy", "video", kind=kind, domain=domain)


def _skill(source: str, label: str, domain: str) -> Task:
    """Skill as a scale, per video."""
    scale = {"kind": "skill", "ordered": True}
    return Task(label, source, label, "spearman", "video", domain=domain, **scale)


def _map(source: str, track: str, domain: str) -> Task:
    """A class for every pixel of the frames that have a map."""
    return Task(track, source, track, "dice", "pixel", kind="segmentation", domain=domain)


def _depth(source: str, track: str, domain: str) -> Task:
    """The depth of every pixel of the frames that have a map."""
    return Task(track, source, track, "delta_125", "pixel", kind="depth", domain=domain)


_LAP, _ROB, _CAT, _ENDO, _OPEN = "laparoscopy", "robotic", "cataract", "endoscopy", "open"
_PHANTOM = "phantom_surgery"

_DECLARED: tuple[Task, ...] = (
    Task("phase", _PHANTOM, "phase", kind="phase"),
    Task("action", _PHANTOM, "action", kind="action"),
    Task("instruments", _PHANTOM, "instrument_*", "mean_average_precision", kind="instruments"),
    Task("skill", _PHANTOM, "skill", unit="video", kind="skill", ordered=True),
    Task("domain", _PHANTOM, "domain", kind="domain"),
    _along(_PHANTOM, "phase", "any", "phase", name="workflow"),
    # The sixteen sets of the benchmark.
    _along("cholec80", "phase", _LAP, "phase"),
    _present("cholec80", "tool_*", _LAP),
    _along("m2cai16_workflow", "phase", _LAP, "phase"),
    _along("autolaparo", "phase", _LAP, "phase"),
    _along("multibypass140", "phase", _LAP, "phase"),
    _along("multibypass140", "step", _LAP, "step"),
    _along("sar_rarp50", "action", _ROB, "action"),
    _along("jigsaws", "gesture", _ROB, "gesture"),
    _skill("jigsaws", "skill", _ROB),
    _skill("aixsuture", "skill", _OPEN),
    _skill("aixsuture", "global_rating", _OPEN),
    _video("surgical_actions160", "action", _LAP, "action"),
    _video("lapgyn_events", "event", _LAP, "event"),
    _along("cataract101", "phase", _CAT, "phase"),
    _video("cataract101", "experience", _CAT, "skill"),
    _along("cataract1k", "phase", _CAT, "phase"),
    _along("cataract21", "phase", _CAT, "phase"),
    _video("hyper_kvasir", "finding", _ENDO, "finding"),
    Task("finding", "kvasir_capsule", "finding", kind="finding", domain=_ENDO),
    Task("polyp", "ldpolypvideo", "polyp", kind="polyp", domain=_ENDO),
    _video("colonoscopic", "lesion", _ENDO, "finding"),
    # More.
    Task("triplets", "cholect50", "triplet_*", "triplet_ivt", kind="triplets", domain=_LAP),
    _along("cholect50", "phase", _LAP, "phase"),
    _along("pitvis", "step", _ENDO, "step"),
    _present("pitvis", "instrument_*", _ENDO),
    _along("heichole", "phase", _LAP, "phase"),
    _present("heichole", "instrument_*", _LAP),
    _along("pmlr50", "phase", _LAP, "phase"),
    _along("egosurgery", "phase", _OPEN, "phase"),
    _video("polypdiag", "diagnosis", _ENDO, "finding"),
    _along("ophnet2024", "phase", _CAT, "phase"),
    _along("grasp", "phase", _ROB, "phase"),
    _along("grasp", "step", _ROB, "step"),
    Task("critical_view", "endoscapes", "cvs_*", "mean_average_precision", "frame", domain=_LAP),
    # Label maps.
    _map("autolaparo/scene", "scene", _LAP),
    _map("cholecseg8k", "scene", _LAP),
    _map("endoscapes", "anatomy", _LAP),
    _map("endovis2017", "instrument", _ROB),
    _map("endovis2017", "part", _ROB),
    _map("endovis2018", "scene", _ROB),
    _map("grasp", "instrument", _ROB),
    _map("sar_rarp50", "scene", _ROB),
    _map("kvasir_seg", "polyp", _ENDO),
    _map("cvc_clinicdb", "polyp", _ENDO),
    _depth("c3vd", "depth", _ENDO),
    _depth("scared", "depth", _ROB),
    _map(f"{_PHANTOM}/dense", "layers", "any"),
    _depth(f"{_PHANTOM}/dense", "depth", "any"),
)

PUBLISHED = "surgrec_v1"  # the builders' configuration of the published clips
SIXTEEN = (
    *("cholec80", "m2cai16_workflow", "autolaparo", "multibypass140", "sar_rarp50", "jigsaws"),
    *("aixsuture", "surgical_actions160", "lapgyn_events", "cataract101", "cataract1k"),
    *("cataract21", "hyper_kvasir", "kvasir_capsule", "ldpolypvideo", "colonoscopic"),
)
_DOMAINS = {task.source: task.domain for task in _DECLARED}
# The published clips: one class per clip in advance, top-1; `audit` says what is wrong with them.
_PUBLISHED = tuple(
    Task("label", f"{source}/{PUBLISHED}", "label", "top1", "video", domain=_DOMAINS[source])
    for source in (*SIXTEEN, "pitvis")
)

TASKS: dict[str, tuple[Task, ...]] = {}
for _task in (*_DECLARED, *_PUBLISHED):
    TASKS[_task.source] = (*TASKS.get(_task.source, ()), _task)


def tasks_of(source: str) -> tuple[Task, ...]:
    """The tasks of a source; those of "name/config" are declared for it or for "name"."""
    name, _, config = source.partition("/")
    declared = TASKS.get(source) or (() if config == PUBLISHED else TASKS.get(name, ()))
    return tuple(dataclasses.replace(task, source=source) for task in declared)


def offered_tasks(
    sources: Sequence[str], data_dir: str | os.PathLike
) -> tuple[dict[str, tuple[Task, ...]], list[str]]:
    """Source -> its declared tasks or, where there are none, those of its own labels.

    The second part of the answer is a sentence for each source of the second kind.

    Raises:
        ConfigError: as `own_tasks`.
    """
    offered, sentences = {}, []
    for source in sources:
        offered[source] = tasks_of(source)
        if not offered[source]:
            offered[source], sentence = own_tasks(data_dir, source)
            sentences.append(sentence)
    return offered, sentences


def select_tasks(
    source: str, names: Sequence[str], offered: Sequence[Task] = ()
) -> tuple[Task, ...]:
    """The tasks of `source` with these names, in this order; ("all",) gives all of them.

    Args:
        offered: its tasks (`offered_tasks`); by default the declared ones.

    Raises:
        ConfigError: nothing is declared for the source, or no such task.
    """
    declared = {task.name: task for task in offered or tasks_of(source)}
    if not declared:
        raise ConfigError(f"no tasks are declared for {source!r}; declared: {', '.join(TASKS)}")
    if tuple(names) == ("all",):
        return tuple(declared.values())
    unknown = [name for name in names if name not in declared]
    if unknown or not names:
        raise ConfigError(
            f"{source} has no task {', '.join(map(repr, unknown)) or '(none given)'}; "
            f"choose from: {', '.join(declared)} or all"
        )
    return tuple(declared[name] for name in names)


def wanted_sources(sources: Sequence[str], published: bool) -> list[str]:
    """Data sets as name[/config], with "sixteen" spelt out, or their published clips.

    Raises:
        ConfigError: none, or one that no published clips are declared for.
    """
    names = []
    for part in sources:
        names += SIXTEEN if part == "sixteen" else (part,)
    if published:
        names = [f"{name.partition('/')[0]}/{PUBLISHED}" for name in names]
    names = list(dict.fromkeys(names))
    if not names:
        raise ConfigError("no source given: name data sets, or sixteen")
    unknown = [name for name in names if not tasks_of(name)] if published else []
    if unknown:
        raise ConfigError(
            f"no tasks are declared for {unknown[0]!r}: this protocol asks published clips, of "
            f"{', '.join(task.source.partition('/')[0] for task in _PUBLISHED)}; another protocol "
            "asks any data set's labels"
        )
    return names

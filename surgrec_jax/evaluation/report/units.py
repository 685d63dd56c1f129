"""The words for what a task is asked of, and its values with their units."""

from collections.abc import Mapping

from surgrec_jax.evaluation.metrics import maps, registry


def multi_label(task: Mapping) -> bool:
    return task["metric"] in registry.LABEL_WISE


def of_depths(task: Mapping) -> bool:
    return task["metric"] in maps.DEPTH


def classes_in_words(task: Mapping) -> str:
    if of_depths(task):
        return "depths in mm"
    return f"{len(task['classes'])} {'labels' if multi_label(task) else 'classes'}"


def clips(task: Mapping) -> str:
    """The name of what a task shows of a record."""
    return "frames" if task["unit"] == "pixel" else "clips"


def with_unit(metric: str, score: float | None) -> str:
    """A score in percent, an error of depths in its own unit."""
    if metric not in maps.ERRORS or score is None:
        return percent(score, unit=" %")
    return f"{score:.2f} mm" if "mm" in metric else f"{score:.3f}"


def percent(score: float | None, sign: str = "", unit: str = "") -> str:
    """In percent with one digit; what rounds to zero has no minus before it."""
    return "undefined" if score is None else f"{100 * score:{sign}z.1f}{unit}"

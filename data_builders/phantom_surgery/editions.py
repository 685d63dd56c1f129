"""The two editions of the phantom: their vocabularies, and what tools are used for.

The first tells its actions apart by the tool alone. In the second each of four tools does two
things that differ by motion only, a rare phase and a rare tool occur in few patients of every
domain, and labels tell what lies inside the picture's central square, which loaders crop.
"""

import dataclasses
from collections.abc import Mapping

INSTRUMENTS = ("grasper", "scissors", "hook", "needle_driver", "suction", "retractor")


@dataclasses.dataclass(frozen=True)
class Edition:
    """Classes and habits of an edition.

    Attributes:
        phases, actions: class names in id order.
        phase_length: relative mean length; a phase lasts gamma(shape 6) around it, then all are
            scaled to the video.
        action_seconds: mean length.
        weights: phase -> action -> weight in the jump chain (an action never follows itself).
        tool_of: action -> the tool that does it.
        holder: phase -> the tool of the second hand, which holds still while the other works.
        parked: phase -> tools that may lie in the picture while nothing is done.
        burning: actions with sparks and smoke, which leave burns.
        rare: phases and tools that only some patients have.
        shape: domain -> width and length of the tools' tips against the first edition's.
        square: True labels what lies in the central square, and no action without its tool there.
    """

    phases: tuple[str, ...]
    actions: tuple[str, ...]
    phase_length: Mapping[str, float]
    action_seconds: Mapping[str, float]
    weights: Mapping[str, Mapping[str, float]]
    tool_of: Mapping[str, str]
    holder: Mapping[str, str | None]
    parked: Mapping[str, tuple[str, ...]]
    burning: tuple[str, ...]
    rare: tuple[str, ...]
    shape: Mapping[str, tuple[float, float]]
    square: bool


_LENGTH = {
    "preparation": 0.8, "exposure": 1.0, "dissection": 1.2, "haemostasis": 1.0, "closure": 1.1,
}  # fmt: skip
_HOLDER = {
    "preparation": None, "exposure": "retractor", "dissection": "grasper",
    "haemostasis": "suction", "closure": "grasper",
}  # fmt: skip
_PARKED = {
    "preparation": ("grasper", "suction"), "exposure": ("grasper", "retractor"),
    "dissection": ("scissors", "hook"), "haemostasis": ("suction", "hook"),
    "closure": ("needle_driver", "grasper"),
}  # fmt: skip

FIRST = Edition(
    phases=("preparation", "exposure", "dissection", "haemostasis", "closure"),
    actions=("idle", "retract", "grasp_pull", "cut", "coagulate", "suture", "irrigate"),
    phase_length=_LENGTH,
    action_seconds={
        "idle": 3.0, "retract": 4.5, "grasp_pull": 4.5, "cut": 4.5, "coagulate": 4.5,
        "suture": 6.0, "irrigate": 4.5,
    },
    weights={
        "preparation": {"idle": 0.40, "irrigate": 0.30, "grasp_pull": 0.30},
        "exposure": {"retract": 0.50, "grasp_pull": 0.30, "coagulate": 0.10, "idle": 0.10},
        "dissection": {"cut": 0.45, "coagulate": 0.25, "grasp_pull": 0.20, "idle": 0.10},
        "haemostasis": {"coagulate": 0.38, "irrigate": 0.40, "idle": 0.12, "retract": 0.10},
        "closure": {"suture": 0.55, "cut": 0.18, "idle": 0.15, "grasp_pull": 0.12},
    },
    tool_of={
        "retract": "retractor", "grasp_pull": "grasper", "cut": "scissors", "coagulate": "hook",
        "suture": "needle_driver", "irrigate": "suction",
    },
    holder=_HOLDER,
    parked=_PARKED,
    burning=("coagulate",),
    rare=(),
    shape=dict.fromkeys(("laparoscopy", "endoscopy", "cataract", "robotic"), (1.0, 1.0)),
    square=False,
)  # fmt: skip

SECOND = Edition(
    phases=("preparation", "exposure", "dissection", "haemostasis", "lavage", "closure"),
    actions=(
        "idle", "hold", "pull", "cut", "spread", "hook_cut", "coagulate", "aspirate", "irrigate",
        "suture", "retract",
    ),
    phase_length=_LENGTH | {"lavage": 1.0},
    action_seconds={
        "idle": 3.0, "hold": 4.5, "pull": 4.5, "cut": 4.5, "spread": 4.5, "hook_cut": 4.5,
        "coagulate": 4.5, "aspirate": 4.5, "irrigate": 4.5, "suture": 6.0, "retract": 4.5,
    },
    weights={
        "preparation": {
            "idle": 0.25, "irrigate": 0.20, "aspirate": 0.15, "pull": 0.20, "hold": 0.20,
        },
        "exposure": {"retract": 0.50, "pull": 0.30, "hold": 0.30, "spread": 0.25, "idle": 0.10},
        "dissection": {
            "cut": 0.25, "spread": 0.15, "hook_cut": 0.25, "coagulate": 0.25, "idle": 0.10,
        },
        "haemostasis": {
            "coagulate": 0.20, "hook_cut": 0.15, "aspirate": 0.30, "irrigate": 0.25, "idle": 0.10,
        },
        "lavage": {"irrigate": 0.50, "aspirate": 0.40, "idle": 0.10},
        "closure": {
            "suture": 0.45, "cut": 0.15, "pull": 0.15, "hold": 0.15, "idle": 0.10,
        },
    },
    tool_of={
        "hold": "grasper", "pull": "grasper", "cut": "scissors", "spread": "scissors",
        "hook_cut": "hook", "coagulate": "hook", "aspirate": "suction", "irrigate": "suction",
        "suture": "needle_driver", "retract": "retractor",
    },
    holder=_HOLDER | {"lavage": None},
    parked=_PARKED | {"lavage": ("suction", "grasper")},
    burning=("coagulate", "hook_cut"),
    rare=("lavage", "retractor"),
    shape={
        "laparoscopy": (1.0, 1.0), "endoscopy": (1.15, 0.7), "cataract": (0.8, 1.4),
        "robotic": (1.15, 1.15),
    },
    square=True,
)  # fmt: skip

EDITIONS = {1: FIRST, 2: SECOND}

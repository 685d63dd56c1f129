"""Which videos a phantom corpus has: domains, patients, splits, sizes, rates and codecs.

No pixel is drawn here.
"""

import dataclasses
import math

import numpy as np

from data_builders.phantom_surgery.editions import EDITIONS
from data_builders.phantom_surgery.script import SHORTEST_VIDEO, SKILLS
from surgrec_jax.safety.errors import ConfigError

DOMAINS = ("laparoscopy", "endoscopy", "cataract", "robotic")
SHARES = (0.60, 0.25, 0.10, 0.05)  # shares of the footage: long-tailed, like the public data
SPLITS = ("train", "val", "test")
# (fourcc, suffix) that opencv-python writes and reads back without further libraries.
# VP8 is the rarest: its encoder takes more time than drawing the picture.
CODECS = (
    *(
        2
        * (("mp4v", ".mp4"), ("mp4v", ".mkv"), ("XVID", ".avi"), ("MJPG", ".avi"), ("MJPG", ".mkv"))
    ),
    ("VP80", ".mkv"),
)
ASPECTS = {
    "laparoscopy": ((16, 9), (4, 3)), "endoscopy": ((5, 4), (1, 1), (4, 3)), "cataract": ((16, 9),
    (4, 3)),
    "robotic": ((16, 9), (5, 4)),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CorpusSpec:
    """Size and look of a corpus.

    `patients` and `shares` (of the footage) per domain in the order of DOMAINS; at least 6 patients
    each (2 per split).
    """

    seed: int = 0
    patients: tuple[int, ...] = (32, 14, 8, 6)
    minutes: float = 75.0  # footage of all domains together
    shares: tuple[float, ...] = SHARES
    videos_per_patient: tuple[int, ...] = (2, 1, 1, 1)
    short_sides: tuple[int, ...] = (80, 88, 96)
    rates: tuple[float, ...] = (8.0,)
    edition: int = 2  # a key of EDITIONS
    rare: float = 0.25  # share of the patients of every domain and split with each rare thing


@dataclasses.dataclass(frozen=True)
class VideoPlan:
    """One video, ready to be rendered; sizes in pixels, rate in frames per second."""

    video_id: str
    case_id: str
    split: str
    domain: str
    skill: str
    seconds: float
    width: int
    height: int
    fps: float
    codec: str
    container: str
    patient_seed: tuple[int, ...]
    video_seed: int
    edition: int = 2
    rare: tuple[str, ...] = ()  # what of the edition's rare phases and tools the patient has

    def patient_rng(self) -> np.random.Generator:
        """Randomness shared by all videos of the patient."""
        return np.random.default_rng(list(self.patient_seed))

    def video_rng(self) -> np.random.Generator:
        """Randomness of this video alone."""
        return np.random.default_rng([self.video_seed, *self.patient_seed])


def split_of_patients(seed: int, domain: int, patients: int) -> list[str]:
    """Split per patient of a domain: a fifth each (at least two) val and test, the rest train."""
    if patients < 6:
        raise ConfigError(
            f"{DOMAINS[domain]} has {patients} patients; two per split need at least 6"
        )
    held = max(2, round(0.2 * patients))
    names = ["val"] * held + ["test"] * held + ["train"] * (patients - 2 * held)
    order = np.random.default_rng([seed, 101, domain]).permutation(patients)
    splits = [""] * patients
    for name, patient in zip(names, order, strict=True):
        splits[patient] = name
    return splits


def _deal(rng: np.random.Generator, values: tuple, n: int) -> list:
    """Deals n values from shuffled copies of the deck, so that a rare domain meets most of them."""
    dealt = []
    while len(dealt) < n:
        dealt += [values[k] for k in rng.permutation(len(values))]
    return dealt[:n]


def rare_things(spec: CorpusSpec, splits: list[str]) -> list[tuple[str, ...]]:
    """What of the edition's rare things each patient of a domain has.

    Every split gets its share of each, dealt in turns that do not depend on one another.
    """
    dealt: list[tuple[str, ...]] = [()] * len(splits)
    names = EDITIONS[spec.edition].rare
    for split in SPLITS:
        for place, patient in enumerate(p for p, s in enumerate(splits) if s == split):
            for number, name in enumerate(names):
                begin = place + (number + 0.5) / (spec.rare * len(names) or 1)
                if math.floor(begin * spec.rare) > math.floor((begin - 1) * spec.rare):
                    dealt[patient] += (name,)
    return dealt


def plan_corpus(spec: CorpusSpec) -> list[VideoPlan]:
    """All videos of a corpus, a function of `spec` alone; footage follows its shares of domains."""
    plans = []
    for d, domain in enumerate(DOMAINS):
        splits = split_of_patients(spec.seed, d, spec.patients[d])
        n_videos = spec.patients[d] * spec.videos_per_patient[d]
        rng = np.random.default_rng([spec.seed, 102, d])
        lengths = np.exp(rng.normal(0.0, 0.15, n_videos))
        lengths *= spec.minutes * 60.0 * spec.shares[d] / lengths.sum()
        n, rare = spec.patients[d], rare_things(spec, splits)
        hands = zip(
            _deal(rng, spec.short_sides, n),
            _deal(rng, ASPECTS[domain], n),
            _deal(rng, CODECS, n),
            _deal(rng, spec.rates, n),
            strict=True,
        )
        for p, (short, (wide, high), (codec, container), fps) in enumerate(hands):
            case = f"{domain}_{p:03d}"
            for v in range(spec.videos_per_patient[d]):
                plans.append(
                    VideoPlan(
                        video_id=f"{case}_{v}",
                        case_id=case,
                        split=splits[p],
                        domain=domain,
                        skill=SKILLS[int(rng.integers(len(SKILLS)))],
                        seconds=float(
                            max(SHORTEST_VIDEO, lengths[p * spec.videos_per_patient[d] + v])
                        ),
                        width=2 * round(short * wide / high / 2),
                        height=short,
                        fps=fps,
                        codec=codec,
                        container=container,
                        patient_seed=(spec.seed, 103, d, p),
                        video_seed=1000 * p + v,
                        edition=spec.edition,
                        rare=rare[p],
                    )
                )
    return plans

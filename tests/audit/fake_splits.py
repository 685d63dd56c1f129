"""Split files in the format of the published SurgRec release, with the faults found in them.

`write_release` makes all sixteen folders with the row counts, cases, shared cases and majority
rates that the audit counts in the real files; the clips' names follow the published patterns.
"""

import dataclasses
from pathlib import Path

from surgrec_jax.audit.surgrec_v1 import BY_FOLDER

Rows = list[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """rows and cases of train, val, test; cases of test that are in train; test clips of class 0,
    its commonest; test clips of class 1, where that is the commonest of train.

    When val is test, its numbers are test's.
    """

    rows: tuple[int, int, int]
    cases: tuple[int, int, int]
    shared: int
    top: int
    path: str  # c case, k clip, y label, z = y + 1, name of the class
    second: int | None = None


# fmt: off
SPECS = {
    "AutoLaparo": Spec((77, 26, 62), (10, 4, 7), 0, 13, "label_{c:02d}_{k}.mp4", 12),
    "cat-21": Spec((213, 51, 51), (17, 4, 4), 0, 8,
                   "split_clip/{name}/case_{c:02d}_training_{k:04d}.mp4"),
    "cataract-101": Spec(
        (889, 248, 128), (71, 20, 10), 0, 25,
        "split_clip/phase_{z:02d}_x/case_{c}_phase{z:02d}_{k:03d}_000068_001043.mp4"),
    "cataract-1k-phase": Spec(
        (651, 178, 101), (39, 11, 6), 0, 12,
        "split_video/case_{c}/case_{c}_segment_{k:03d}_{name}_000.100-012.345.mp4", 11),
    "hyper-kvasir": Spec((653, 654, 654), (100, 101, 101), 93, 165,
                         "videos/{name}/584f-{c:04d}_{k}.avi"),
    "kvasir-capsule": Spec((329, 82, 82), (35, 19, 19), 18, 28,
                           "videos/{name}/{c:016x}_{k}-{k}9.mp4"),
    "LDPolyVideo": Spec((1440, 1440, 1440), (153, 159, 159), 104, 1301, "{c}_{k}_{k}9_{name}.mp4"),
    "SAR-RARP50": Spec(
        (1773, 439, 439), (40, 10, 10), 0, 114,
        "split_video/{y:02d}_x/video_{c:02d}_label{y:02d}_x_seg{k:04d}_000000-000649.mp4"),
}
# fmt: on


def write_release(root: Path) -> Path:
    """All sixteen folders below `root`."""
    release = {folder: _generic(folder, spec) for folder, spec in SPECS.items()} | {
        "cholec80": _cholec80(),
        "M2CAI16-Workflow": _m2cai16(),
        "AlxSuture": _aixsuture(),
        "SurgicalActions160": _actions(),
        "LapGyn_dataset": _lapgyn(),
        "JIGSAWS": _jigsaws(),
        "Colonoscopic-web": _colonoscopic(),
        "MultiBypass140": _multibypass(),
    }
    for folder, splits in release.items():
        write_folder(root, folder, splits)
    return root


def write_folder(root: Path, folder: str, splits: dict[str, Rows]) -> None:
    """`root/folder/{train,val,test}.csv`, paths below the data root, quoted where they need it."""
    (root / folder).mkdir(parents=True)
    quote = '"' if folder == "kvasir-capsule" else ""
    for split, rows in splits.items():
        lines = [f"{quote}__DATA_ROOT__/{folder}/{path}{quote} {label}\n" for path, label in rows]
        (root / folder / f"{split}.csv").write_text("".join(lines))


def _generic(folder: str, spec: Spec) -> dict[str, Rows]:
    classes = range(len(BY_FOLDER[folder].classes))
    train_cases = range(1, spec.cases[0] + 1)
    same = spec.rows[1] == spec.rows[2] and spec.cases[1] == spec.cases[2]
    first_val = spec.cases[0] + 1
    first_test = spec.cases[0] - spec.shared + 1 if same else first_val + spec.cases[1]
    cases = [
        train_cases,
        range(first_val, first_val + spec.cases[1]),
        range(first_test, first_test + spec.cases[2]),
    ]
    splits: dict[str, Rows] = {}
    for index, split in enumerate(("train", "val", "test")):
        if split == "val" and same:
            continue
        count = spec.rows[index]
        if split == "test":
            counted = {0: spec.top} | ({} if spec.second is None else {1: spec.second})
        else:
            most = round(spec.top / spec.rows[2] * count) + len(classes)
            counted = {0 if spec.second is None else 1: most}
        labels = [y for y, n in counted.items() for _ in range(n)]
        rest = [y for y in classes if y not in counted]
        labels += [rest[k % len(rest)] for k in range(count - len(labels))]
        # Clip numbers go on from split to split where cases are shared: their clips are not.
        first = (index + 1) * 2000 if spec.shared else 0
        splits[split] = [
            (
                spec.path.format(
                    c=cases[index][k % len(cases[index])],
                    k=first + k,
                    y=y,
                    z=y + 1,
                    name=BY_FOLDER[folder].classes[y],
                ),
                y,
            )
            for k, y in enumerate(labels)
        ]
    if same:
        splits["val"] = list(splits["test"])
    return splits


def _cholec80() -> dict[str, Rows]:
    """16 videos lack their last clip or clips, whatever phase they lack."""
    missing = dict.fromkeys(range(1, 9), 1) | {9: 2} | dict.fromkeys(range(41, 48), 1)

    def rows(videos):
        return [
            (f"cholec80_{v:02d}_{k}.mp4", k - 1)
            for v in videos
            for k in range(1, 8 - missing.get(v, 0))
        ]

    test = rows(range(41, 81))
    return {"train": rows(range(1, 41)), "val": test, "test": test}


def _m2cai16() -> dict[str, Rows]:
    names = BY_FOLDER["M2CAI16-Workflow"].classes

    def rows(kind, stem, videos, lacking):
        return [
            (f"m2cai16w_{kind}_{stem}_{v:02d}_{name}.mp4", label)
            for v in range(1, videos + 1)
            for label, name in enumerate(names)
            if v > lacking.get(name, 0)
        ]

    train = rows("train_dataset", "workflow_video", 27, {"TrocarPlacement": 2})
    lacking = {"TrocarPlacement": 7, "Preparation": 6}
    test = rows("test_dataset", "test_workflow_video", 14, lacking)
    return {"train": train, "val": test, "test": test}


def _aixsuture() -> dict[str, Rows]:
    """Two videos a student, one with the code of the other backwards; train has most of class 1."""
    splits, student = {}, 0
    counts = (("train", 110, (90, 110)), ("val", 24, (20, 20)), ("test", 23, (19, 18)))
    for split, count, (novices, more) in counts:
        rows = []
        for k in range(2 * count):
            code = f"{chr(65 + (student + k // 2) // 10 % 25)}{(student + k // 2) % 10}9Z"
            code = code if k % 2 else code[::-1]
            label = 0 if k < novices else 1 if k < novices + more else 2
            rows.append((f"video_faststart/{code}.mp4", label))
        splits[split] = rows
        student += count
    return splits


def _actions() -> dict[str, Rows]:
    names = BY_FOLDER["SurgicalActions160"].classes

    def rows(clips):
        return [
            (f"{y + 1:02d}_{name}/{y + 1:02d}_{k:02d}.mp4", y)
            for y, name in enumerate(names)
            for k in clips
        ]

    return {"train": rows(range(1, 8)), "val": rows((8, 9)), "test": rows((10,))}


def _multibypass() -> dict[str, Rows]:
    """68 of 70 cases of one centre, 22 of 70 of the other."""
    spec = Spec((1031, 223, 448), (57, 11, 22), 0, 155,
                "{c:02d}_phase_{k:03d}_{name}_000000-000100.mp4")  # fmt: skip
    cases = [f"BBP{c:02d}" for c in range(1, 69)] + [f"SBP{c:02d}" for c in range(1, 23)]
    return {
        split: [(_of_case(cases[int(path[:2]) - 1], path[2:]), y) for path, y in rows]
        for split, rows in _generic("MultiBypass140", spec).items()
    }


def _of_case(case: str, rest: str) -> str:
    return f"split_videos/{case[0]}/phase/{case}/{case}{rest}"


def _lapgyn() -> dict[str, Rows]:
    """Event and Rest clips of each event folder; 7 of 37 test cases are training cases too."""
    names = BY_FOLDER["LapGyn_dataset"].classes
    counts = {"Train": (137, 588, 913, 2691), "Test": (40, 113, 234, 650)}
    rest = {"Train": (138, 588, 913, 2691), "Test": (40, 113, 234, 650)}
    cases = {"Train": range(1, 154), "Test": range(147, 184)}

    def rows(side):
        out = []
        for y, name in enumerate(names):
            for kind, count in ((name, counts[side][y]), ("Rest", rest[side][y])):
                for k in range(count):
                    case = cases[side][k % len(cases[side])]
                    text = name if kind == name else "irrelevant"
                    out.append((f"{name}/{side}/{kind}/case_{case}_{text}_{k}.mp4", y))
        return out

    test = rows("Test")
    return {"train": rows("Train"), "val": test, "test": test}


def _jigsaws() -> dict[str, Rows]:
    """103 trials of 8 surgeons, split by trial; two cameras film every gesture."""
    names = BY_FOLDER["JIGSAWS"].classes
    trials = [
        f"{task}_{surgeon}{number:03d}"
        for number in range(1, 6)
        for task in ("Suturing", "Knot_Tying", "Needle_Passing")
        for surgeon in "BCDEFGHI"
    ][:103]

    def rows(mine, events, top):
        out = []
        for k in range(events):
            y = 0 if k < top else 1 + k % (len(names) - 1)
            for camera in (1, 2):
                name = f"{mine[k % len(mine)]}_capture{camera}_{k}.5_{k + 1}.63_{names[y]}"
                out.append((f"videos/{name}.mp4", y))
        return out

    test = rows(trials[51:], 843, 131)
    return {"train": rows(trials[:51], 855, 140), "val": test, "test": test}


def _colonoscopic() -> dict[str, Rows]:
    """Two lights a lesion; 28 lesions stand in train and val, 12 in train and test, 3 in both."""
    places = [("train", "train")] * 33 + [("train", "val")] * 28
    places += [("train", "test")] * 12 + [("val", "test")] * 3
    adenomas = [*range(32, 61), *range(61, 69), *range(3)]  # 40 lesions; 8 of them in test
    splits: dict[str, Rows] = {"train": [], "val": [], "test": []}
    for k, both in enumerate(places):
        y = 0 if k in adenomas else 1 + k % 2
        name = BY_FOLDER["Colonoscopic-web"].classes[y]
        for light, split in zip(("NBI", "WL"), both, strict=True):
            number = f"({k})" if k else ""
            splits[split].append((f"{name}/{light}{number}.mp4", y))
    return splits

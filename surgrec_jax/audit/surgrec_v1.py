"""The published SurgRec benchmark: its folders, clips, labels and splits, exactly as released.

The release holds per folder a train, a val and a test file of lines `PATH LABEL`: one space, no
header, paths below `__DATA_ROOT__/`, in double quotes where they hold a space. Rows are clips cut
in advance. Everything is kept as published, faults too; `surgrec_jax.audit.rules` reports them.

The table follows the files: path patterns, the recording and the case (patient,
procedure) behind a clip, and class names in label order.
"""

import dataclasses
import os
import re
from pathlib import Path, PurePosixPath

from surgrec_jax.records.errors import BadInput, BuildError, safe_text

DATA_ROOT = "__DATA_ROOT__/"
SPLITS = ("train", "val", "test")
SUFFIXES = (".csv", ".txt", "")
MAX_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Published:
    """One folder of the release.

    Attributes:
        folder: its name in the release.
        source: our name of the data set that the clips come from.
        domain: one of records.DOMAINS.
        pattern: regular expression that is searched in a clip's path.
        recording: groups of `pattern` that name the video, trial or file a clip was cut from.
        case: groups that name the unit no split should share (None: as `recording`; (): unknown).
        classes: names in label order.
        no_class: those of `classes` that are no class of the data set's owner, each with why.
        misnamed: a sentence, where the clips are of another data set than the release says.
        event: groups that name the event a clip shows; two clips of one event are two views of it.
        ordinal: group whose number - 1 is the label of every clip, where it is a mere position.
        negative: part of the paths of clips that do not show the class of their label.
        owner_cases: number of cases that the owner publishes, None where unknown.
    """

    folder: str
    source: str
    domain: str
    pattern: str
    recording: tuple[int, ...]
    classes: tuple[str, ...]
    case: tuple[int, ...] | None = None
    no_class: tuple[tuple[str, str], ...] = ()
    misnamed: str | None = None
    event: tuple[int, ...] = ()
    ordinal: int | None = None
    negative: str | None = None
    owner_cases: int | None = None

    def recording_of(self, path: str) -> str | None:
        """The video or trial behind a clip, or None where the path does not say."""
        return self._name(path, self.recording)

    def case_of(self, path: str) -> str | None:
        """The case behind a clip, or None where the path does not say."""
        return self._name(path, self.recording if self.case is None else self.case)

    def event_of(self, path: str) -> str | None:
        return self._name(path, self.event)

    def position_of(self, path: str) -> int | None:
        """The position of a clip in its video, from 0, if labels are mere positions."""
        position = self._name(path, () if self.ordinal is None else (self.ordinal,))
        return None if position is None else int(position) - 1

    def _name(self, path: str, groups: tuple[int, ...]) -> str | None:
        match = re.search(self.pattern, path)
        if match is None or not groups:
            return None
        if self.folder == "AlxSuture":  # a student's two videos have each other's code backwards
            return min(match[1], match[1][::-1])
        return "_".join(match[group] or "" for group in groups).strip("_")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CHOLECYSTECTOMY = _words(
    "CalotTriangleDissection CleaningCoagulation ClippingCutting GallbladderDissection "
    "GallbladderPackaging GallbladderRetraction Phase Preparation TrocarPlacement"
)
# fmt: off
PUBLISHED: tuple[Published, ...] = (
    # A label is the position of the phase among those that occur in the video.
    Published("cholec80", "cholec80", "laparoscopy", r"cholec80_(\d{2})_(\d+)\.mp4$", (1,),
              tuple(f"position_{k}" for k in range(1, 8)), ordinal=2, owner_cases=80),
    Published("M2CAI16-Workflow", "m2cai16_workflow", "laparoscopy",
              r"m2cai16w_(train_dataset|test_dataset)_((?:test_)?workflow_video_\d{2})_(\w+)\.mp4$",
              (2,), _CHOLECYSTECTOMY, owner_cases=41,
              no_class=(("Phase", "the header word of the annotation files"),)),
    Published("AutoLaparo", "autolaparo", "laparoscopy", r"label_(\d{2})_(\d+)\.mp4$", (1,),
              ("Preparation", "Dividing Ligament and Peritoneum",
               "Dividing Uterine Vessels and Ligament", "Transecting the Vagina",
               "Specimen Removal", "Suturing", "Washing"), owner_cases=21),
    Published("MultiBypass140", "multibypass140", "laparoscopy",
              r"([BS]BP\d{2})_phase_(\d+)_(\w+?)_(\d{6,})-(\d{6,})\.mp4$", (1,),
              _words("anastomosis_test cleaning_coagulation closure_mesenteric_defect "
                     "closure_petersen_space disassembling gastric_pouch_creation "
                     "gastrojejunal_anastomosis jejunal_separation jejunojejunal_anastomosis "
                     "omentum_division other_intervention out_of_body preparation severe_index"),
              owner_cases=140,
              no_class=(("out_of_body", "no phase: marked over phases or outside them"),
                        ("severe_index", "no phase: marked over phases"))),
    Published("SAR-RARP50", "sar_rarp50", "robotic",
              r"video_(\d{2})((?:_\d)?)_label(\d{2})_(\w+?)_seg(\d{4})_(\d{6})-(\d{6})\.mp4$", (1,),
              ("other", "picking-up the needle", "positioning the needle tip",
               "pushing the needle through the tissue", "pulling the needle out of the tissue",
               "tying a knot", "cutting the suture", "returning/dropping the needle"),
              owner_cases=50),
    # Two cameras film every gesture.
    Published("JIGSAWS", "jigsaws", "robotic",
              r"(Suturing|Knot_Tying|Needle_Passing)_([B-I])(\d{3})_capture([12])_([\d.]+)_([\d.]+)"
              r"_(G\d+)\.mp4$", (1, 2, 3), _words("G1 G2 G3 G4 G5 G6 G8 G9 G11 G12 G13 G14 G15"),
              case=(2,), event=(1, 2, 3, 5, 6, 7), owner_cases=8),
    # The release's own names: its thresholds are not the owner's, its "beginner" is no "novice".
    Published("AlxSuture", "aixsuture", "open", r"([A-Z]\d\d[A-Z])\.mp4$", (1,),
              _words("beginner intermediate expert"), owner_cases=157),
    Published("SurgicalActions160", "surgical_actions160", "laparoscopy",
              r"(\d{2})_([\w-]+)/\d{2}_(\d{2})\.mp4$", (),
              _words("abdominal_access injection cutting blunt_dissection dissection_thermal "
                     "irrigation coagulation suction needle_positioning needle_puncture "
                     "knot_pushing knotting thread_cut sling-in endobag-in endobag-out")),
    # Half of the clips lie in "Rest" folders, and are labelled with the event they lack.
    Published("LapGyn_dataset", "lapgyn_events", "laparoscopy", r"case_(\d+)_(.+)_(\d+)\.mp4$",
              (1,), _words("AbdominalAccess Bleeding Coag-Transection NeedlePassing"),
              negative=r"/Rest/",
              misnamed="reported as LapGyn4; by their names these are the ITEC event clips"),
    Published("cataract-101", "cataract101", "cataract",
              r"case_(\d+)_phase(\d{2})_(\d{3})_(\d{6})_(\d{6})\.mp4$", (1,),
              ("Incision", "Viscous agent injection", "Rhexis", "Hydrodissection",
               "Phacoemulsification", "Irrigation and aspiration", "Capsule polishing",
               "Lens implant setting-up", "Viscous agent removal", "Tonifying and antibiotics"),
              owner_cases=101),
    Published("cataract-1k-phase", "cataract1k", "cataract",
              r"case_(\d+)_segment_(\d{2,3})_([\w-]+?)_(\d{3}\.\d{3})-(\d{3}\.\d{3})\.mp4$", (1,),
              _words("anterior_chamber_flushing capsule_pulishing capsulorhexis hydrodissection "
                     "incision irrigation-aspiration lens_implantation lens_positioning "
                     "phacoemulsification tonifying-antibiotics viscoelastic viscoelastic_suction"),
              owner_cases=56),
    Published("cat-21", "cataract21", "cataract",
              r"case_(\d{2})_(training|validation)_(\d{4})\.mp4$", (1,),
              _words("Antibiotikum Hydrodissektion Incision Irrigation-Aspiration Kapselpolishing "
                     "Linsenimplantation Phako Rhexis Tonisieren Visco-Absaugung Viscoelasticum "
                     "not_initialized"), owner_cases=21,
              no_class=(("not_initialized", "the time before the operation"),)),
    Published("hyper-kvasir", "hyper_kvasir", "endoscopy",
              r"videos/(lower|upper)-([\w-]+)/(.+)_(\d+)\.avi$", (3,),
              _words("lower-colitis upper-z-line upper-esophagitis lower-polyps upper-polyps "
                     "lower-parasites upper-ulcer upper-cancer upper-pylorus")),
    Published("kvasir-capsule", "kvasir_capsule", "endoscopy",
              r"([0-9a-f]{16})_(\d+)-(\d+)\.mp4$", (1,),
              ("Ileocecal valve", "blood-fresh", "foreign-body", "lymphangiectasia",
               "normal-clean-mucosa", "pylorus", "reduced-mucosal-view"), owner_cases=43),
    Published("LDPolyVideo", "ldpolypvideo", "endoscopy",
              r"(?:([01])_)?(\d+)_(\d+)_(\d+)_(no_polyps|polyps)\.mp4$", (1, 2),
              _words("no_polyps polyps"), owner_cases=263),
    # A lesion is filmed in two lights.
    Published("Colonoscopic-web", "colonoscopic", "endoscopy",
              r"(Adenoma|Hyperplasic|Serrated)/(NBI|WL)(?:\((\d+)\))?\.mp4$", (1, 3),
              _words("Adenoma Hyperplasic Serrated"), owner_cases=76),
    # This is none of the sixteen benchmark folders.
    Published("PitVis", "pitvis", "endoscopy",
              r"video_(\d{2})_label(\d{2})_(\w+?)_seg(\d{3})_(\d{5})-(\d{5})\.mp4$", (1,),
              _words("nasal_corridor_creation anterior_sphenoidotomy septum_displacement "
                     "sphenoid_sinus_clearance sellotomy durotomy tumour_excision haemostasis "
                     "synthetic_graft_placement fat_graft_placement gasket_seal_construct "
                     "dural_sealant nasal_packing debris_clearance"), owner_cases=25),
)
# fmt: on
BY_FOLDER = {entry.folder: entry for entry in PUBLISHED}
BY_SOURCE = {entry.source: entry for entry in PUBLISHED}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a split file: the path below the data root, the label, the line from 1."""

    path: str
    label: int
    line: int


def find_folders(splits_dir: Path) -> dict[str, dict[str, Path]]:
    """Finds the folders of a copy of the release: folder name -> split -> its file.

    A folder counts when it holds a train, a val or a test file (`train.csv`, `train.txt`, `train`).

    Raises:
        BuildError: not a folder, no such file in it, two files for one split, two folders of a
            name.
    """
    if not splits_dir.is_dir():
        raise BuildError(f"--splits_dir {safe_text(splits_dir)} is not a folder.")
    release: dict[str, dict[str, Path]] = {}
    for here, folders, names in os.walk(splits_dir):
        folders.sort()
        files: dict[str, Path] = {}
        for split in SPLITS:
            there = [split + suffix for suffix in SUFFIXES if split + suffix in names]
            if len(there) > 1:
                raise BuildError(f"{safe_text(here)} holds {' and '.join(there)}; keep one.")
            if there:
                files[split] = Path(here, there[0])
        if files:
            name = safe_text(Path(here).name)
            if name in release:
                raise BuildError(f"{safe_text(splits_dir)} holds two folders called {name!r}.")
            release[name] = files
    if not release:
        raise BuildError(
            f"{safe_text(splits_dir)} holds no split files; expected FOLDER/train.csv, val.csv and "
            "test.csv as the SurgRec release has them."
        )
    return release


def read_split(path: Path) -> list[Row]:
    """Reads the rows of a split file in order.

    Raises:
        BadInput: unreadable, or a line that is not `PATH LABEL` below the data root; names the
            line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(path, f"is larger than {MAX_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(path, "is not UTF-8 text") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        name = name.strip()
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = name[1:-1]
        if not re.fullmatch(r"\d{1,4}", label) or not name.startswith(DATA_ROOT):
            raise BadInput(path, f"is not `{DATA_ROOT}PATH LABEL`: {safe_text(line[:80])}", number)
        name = name[len(DATA_ROOT) :]
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not name.isprintable() or "\\" in name:
            raise BadInput(path, f"names {safe_text(name)}, which leaves the clips folder", number)
        rows.append(Row(name, int(label), number))
    return rows


def read_folder(files: dict[str, Path]) -> dict[str, list[Row]]:
    """Reads a folder's splits, in the order train, val, test; raises as `read_split`."""
    return {split: read_split(files[split]) for split in SPLITS if split in files}

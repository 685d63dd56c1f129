"""Patients that data sets share: keys that are equal when two cases are one patient.

Sources: the Cholec80 family and Endoscapes from the CAMMA overlap audit, the others from the
papers. Where only the fact of an overlap is known, but not which case is which, it stands in
MAY_OVERLAP.
"""

import re

_NUMBER = re.compile(r"(\d+)\D*$")
# Sources whose cases are numbered, so that "video01", "VID01" and "1" are one case of one source.
# Cholec80's numbers; CholecT50 and CholecTrack20 have a few beyond 80, of other patients.
_CHOLEC = (
    *("cholec80", "cholect50", "cholect45", "cholecseg8k", "cholectrack20"),
    "cholecinstanceseg",
)
_BYPASS = ("multibypass140", "bernbypass70", "strasbypass70")
_NUMBERED = (
    *_CHOLEC,
    *("autolaparo", "sar_rarp50", "cataract101", "pitvis", "cataract1k", "cataract21"),
    *("lapgyn_events", "grasp", "psi_ava", "endoscapes", "heico"),
)
YOUTUBE = "youtube:"  # keys of patients that are told by the video's id there
_YOUTUBE = ("lemon", "gensurgery", "surgenet_youtube", "avos")
# GenSurgery's folders of pictures may be called as its files are: ID.TITLE, watch?v=ID.TITLE.
_YOUTUBE_ID = re.compile(r"(?:watch\?v=)?([A-Za-z0-9_-]{11})(?:[?&][^.]*)?(?:\..*)?")
_STUDENT = re.compile(r"[A-Z]\d\d[A-Z]")
_CLIP = re.compile(r"(\d{2}_\d{2})(?:\.mp4)?$")
_FOLDER = re.compile(r"(?:images_)?(\d+)")
# Endoscapes' public numbers of patients that Cholec80 or CholecT50 has.
_ENDOSCAPES = {121: 66, 1: 67, 2: 68, 3: 70, 4: 71, 7: 72, 10: 96, 127: 103, 33: 110}
# The seeds that configurations of phantom surgery draw their patients by, and name them alike.
_DRAWN = {
    **dict.fromkeys(("tiny", "default", "first_tiny", "first_default"), 0),
    **dict.fromkeys(("imbalanced", "first_imbalanced"), 1),
    **dict.fromkeys(("balanced", "first_balanced"), 2),
    "trial": 3,
    "dense": 4,
}

# Pairs of data sets, with the fact that is known of them.
EXACT: tuple[tuple[str, str, str], ...] = (
    ("cholec80", "cholect50", "45 videos, same numbers"),
    ("cholec80", "cholect45", "45 videos, same numbers"),
    ("cholect50", "cholect45", "CholecT45 is a part of CholecT50"),
    ("cholec80", "cholecseg8k", "17 videos, same numbers"),
    ("cholec80", "cholectrack20", "15 videos, same numbers"),
    ("cholec80", "cholecinstanceseg", "80 videos, same numbers"),
    ("cholec80", "endoscapes", "6 patients: 66, 67, 68, 70, 71, 72"),
    ("cholect50", "endoscapes", "6 patients: VID66, 68, 70, 96, 103, 110"),
    ("multibypass140", "bernbypass70", "its half of Bern"),
    ("multibypass140", "strasbypass70", "its half of Strasbourg"),
    ("grasp", "psi_ava", "PSI-AVA is inside GraSP, same case numbers"),
)
MAY_OVERLAP: tuple[tuple[str, str, str], ...] = (
    ("cholec80", "m2cai16_workflow", "Cholec80 extends its Strasbourg part; no map is published"),
    ("cholec80", "m2cai16_tool", "M2CAI16-tool is made of its videos 61, 62 and 64 to 76"),
    *(
        (source, "surgenetxl", "SurgeNetXL holds pictures of it")
        for source in (
            *("cholec80", "heichole", "lapgyn4", "multibypass140", "psi_ava", "grasp"),
            "surgenet_youtube",
        )
    ),
    ("surgvu", "surgtoolloc", "sessions of one origin; unknown"),
    ("sun", "sun_seg", "SUN-SEG is made of SUN"),
    ("cholec80", "lapgyn4", "Instrument_Count holds pictures of Cholec80"),
    ("lapgyn_events", "lapgyn4", "same group and case numbering; no map is published"),
    ("lapgyn_events", "gynsurg", "same group and case numbering; no map is published"),
    ("lapgyn4", "gynsurg", "same group and case numbering; no map is published"),
    ("cataract101", "cataract1k", "same clinic; unknown"),
    ("heico", "robust_mis_2019", "ROBUST-MIS is inside HeiCo"),
    ("cataracts", "cadis", "CaDIS is inside the CATARACTS training videos"),
    ("lemon", "gensurgery", "470 of GenSurgery's 3,180 video ids are in LEMON's labels.json"),
    ("lemon", "surgenet_youtube", "both from YouTube: compare video ids"),
    ("endovis2017", "endovis2018", "one group's operations on pigs; unknown"),
    ("kvasir_seg", "hyper_kvasir", "one clinic's polyps; no map is published"),
    ("polypdiag", "hyper_kvasir", "some of its videos; no map is published"),
    ("polypdiag", "ldpolypvideo", "some of its videos; no map is published"),
    ("lemon", "avos", "both from YouTube: compare video ids"),
    ("gensurgery", "surgenet_youtube", "both from YouTube: compare video ids"),
)


def population(source: str, title: str) -> str:
    """The patients that a data set is of, by name: its source's, but each drawn corpus has its own.

    Args:
        title: of the data set, `name` or `name/config`. With no config that is known the answer is
            the source, which says less than that of a corpus.
    """
    seed = _DRAWN.get(title.partition("/")[2]) if source == "phantom_surgery" else None
    return source if seed is None else f"{source} of seed {seed}"


def patient_key(source: str, case: str, video: str | None = None) -> str:
    """A key that is the same for one patient in several data sets.

    Args:
        source: name of a source, or its `population`.
        case: id of a case in it.
        video: a video of that case, if it tells more than the case id.
    """
    number = None
    # Clips of AutoLaparo have numbers too, but not those of its videos.
    if source in _NUMBERED and not case.startswith("clip") and (match := _NUMBER.search(case)):
        number = int(match[1])
    if source in _CHOLEC and number is not None:
        return f"cholec80:{number}"
    if source == "endoscapes" and number in _ENDOSCAPES:
        return f"cholec80:{_ENDOSCAPES[number]}"
    if source == "psi_ava" and number is not None:
        return f"grasp:{number}"
    if source in _BYPASS and (match := re.search(r"([BS]BP)_?(\d+)", case)):
        return f"multibypass140:{match[1]}{int(match[2])}"
    if source == "surgical_actions160" and (match := _CLIP.search(case)):
        return f"surgical_actions160:{match[1]}"  # class and number: patients are not known
    if source == "jigsaws":
        return f"jigsaws:{case[-1:]}"  # the surgeon's letter
    if source == "aixsuture" and (match := _STUDENT.search(case) or _STUDENT.search(video or "")):
        return f"aixsuture:{min(match[0], match[0][::-1])}"  # a student has two videos
    if source == "ldpolypvideo" and (match := _FOLDER.fullmatch(case)):
        return f"ldpolypvideo:images_{int(match[1])}"
    if source in _YOUTUBE and (match := _YOUTUBE_ID.fullmatch(case.rsplit("/", 1)[-1])):
        return f"{YOUTUBE}{match[1]}"
    if source == "m2cai16_workflow" and number is None and (match := _NUMBER.search(case)):
        return f"m2cai16_workflow:{'test' if 'test' in case else 'train'}{int(match[1])}"
    return f"{source}:{case if number is None else number}"


def known_overlap(first: str, second: str) -> tuple[str, bool] | None:
    """The known overlap of two sources, and whether their cases can be matched; or None."""
    for table, exact in ((EXACT, True), (MAY_OVERLAP, False)):
        for one, other, what in table:
            if {one, other} == {first, second}:
                return what, exact
    if first != second and {first, second} <= set(_CHOLEC):
        return "both are of Cholec80's videos, same numbers", True
    return None


def known_names() -> set[str]:
    """The names of the data sets in the tables."""
    return {name for table in (EXACT, MAY_OVERLAP) for pair in table for name in pair[:2]}

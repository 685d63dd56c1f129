"""The meaning of a table's columns, told by their names.

A column is a time only when every word of its name is known (`Start (s)`, `begin_time`, `endFrame`,
`Anfangszeit`); a name that has a word of time among others (`phase_start`, `time_of_day`) is
doubted, and never becomes a label by itself.
"""

import dataclasses
import difflib
import re
import unicodedata
from pathlib import Path

from surgrec_jax.records.errors import BadInput

START = (
    "start starts begin begins beginning beginn onset from von anfang debut depart tin inicio "
    "inizio poczatek zacatek pocatek 开始 開始 начало"
)
END = (
    "end ends stop stops finish offset to bis fin ende until tout fine fim einde eind slut "
    "koniec konec 结束 終了 конец"
)
INSTANT = "time timestamp zeit zeitpunkt zeitstempel temps frame frames timecode moment"
DURATION = "duration dauer duree length"
_UNITS = {
    "s": "s sec secs second seconds sek sekunde sekunden seconde secondes",
    "ms": "ms msec msecs millis millisecond milliseconds millisekunden",
    "min": "min mins minute minutes minuten",
    "frames": "frame frames frm bild bilder image images",
    "clock": "hh h mm m ss hms hhmmss timecode tc smpte mmm",
}
_FILLER = "t time times zeit temps point de du in at of the index idx nr no number num stamp video"
UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_ROLES = {"start": START, "end": END, "duration": DURATION}
ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_KNOWN = {*ROLE_OF, *UNIT_OF, *INSTANT.split(), *_FILLER.split()}
# Words that make a name doubtful as a label; fillers and short words alone do not.
_TELLING = {*ROLE_OF, *INSTANT.split(), "ms", "msec", "sec", "secs", "seconds", "second"} - {"to"}
_TELLING |= {"from", "hms", "fps", "timecode"}
_COMPOUND = re.compile(
    "(?:(?:" + "|".join(sorted((w for w in _KNOWN if len(w) > 2), key=len, reverse=True)) + ")s?)+"
)
_WORD = re.compile("|".join(sorted((w for w in _KNOWN if len(w) > 2), key=len, reverse=True)))
PATH_WORDS = (
    "path file filename file_name filepath file_path video videos video_file video_name "
    "video_path videofile media media_file media_file_name media_file_path datei dateiname "
    "fichier archivo fichero arquivo bestand plik fil soubor 视频 動画 файл видео"
)
PATH = frozenset(PATH_WORDS.split())
CASE_FIELDS = ("case_id", "split", "domain")
# Names of columns that describe rather than label; they are labels only where asked.
_DESCRIBES_WORDS = (
    "comment comments note notes remark remarks kommentar bemerkung annotator rater coder date "
    "datum age alter id pid patient patient_id patientid case caseid subject subject_id operation "
    "operation_id op name title url width height fps rate size description row index nr no number "
    "unnamed unit set fold subset partition hospital center centre site"
)
_DESCRIBES = frozenset(_DESCRIBES_WORDS.split())
# Names of labels that resemble a word of time.
_LABELS_WORDS = (
    "state states status stage step steps phase phases task tasks skill tool tools action actions "
    "event class label grade trial type instrument instruments activity gesture quality score "
    "rating level severity category anatomy organ difficulty expertise experience visibility "
    "outcome diagnosis finding verb target triplet schritt aktion werkzeug etape fase "
    "fas faza etapa"
)
_LABELS = frozenset(_LABELS_WORDS.split())
_PRECEDENCE = ("s", "ms", None, "clock", "hh:mm", "min", "frames")


@dataclasses.dataclass(frozen=True)
class TimeName:
    """A column that holds a time.

    Its role is "start", "end", "instant" or "duration"; its unit a key of instants.UNITS, "clock",
    "hh:mm", or None where the name says nothing.
    """

    role: str
    unit: str | None


def plain(name: str) -> str:
    """A column's name in lower-case letters, digits and underscores; accents are dropped."""
    text = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    text = "".join(c for c in text if not unicodedata.combining(c)).casefold()
    return re.sub(r"\W+", "_", text).strip("_") or ("" if not text.strip() else "_")


def words(name: str) -> list[str]:
    """The words of a name, compounds apart: 'startFrame (Nr.)' -> ['start', 'frame', 'nr']."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    found = []
    for word in re.split(r"[\W_]+|(?<=\D)(?=\d)|(?<=\d)(?=\D)", plain(split)):
        if len(word) > 5 and word not in _KNOWN and _COMPOUND.fullmatch(word):
            found += _WORD.findall(word)
        elif word:
            found.append(word)
    return found


def time_name(name: str) -> TimeName | None:
    """The time that a column's name says it holds, or None."""
    found = words(name)
    if not found or not set(found) <= _KNOWN:
        return None
    roles = {ROLE_OF[word] for word in found if word in ROLE_OF}
    if len(roles) > 1:
        return None
    units = {UNIT_OF[word] for word in found if word in UNIT_OF}
    if "clock" in units:
        hours = found[-2:] in (["hh", "mm"], ["h", "mm"])
        units = {"hh:mm" if hours else "clock"}  # "hh:mm:ss.ms"; "ss.msec" of ELAN below
    if found[-2:] == ["ss", "msec"]:
        units = {"s"}
    if len(units) > 1:
        return None
    unit = units.pop() if units else None
    if roles:
        return TimeName(roles.pop(), unit)
    instants = set(INSTANT.split()) | {
        "image",
        "bild",
        "sec",
        "seconds",
        "msec",
        "milliseconds",
        "millis",
    }
    return TimeName("instant", unit) if set(found) & instants else None


def choose(names: list[str], roles: dict[int, TimeName], role: str) -> int | None:
    """The column of a role; of one time in several units the one in seconds is taken.

    A start and an end are taken in a unit that both have, where there is one.

    Raises:
        ValueError: two columns have one role and unit.
    """
    having = [k for k, found in roles.items() if found.role == role]
    others = {found.unit for found in roles.values() if {found.role, role} == {"start", "end"}}
    having = [k for k in having if roles[k].unit in others] or having
    having.sort(key=lambda k: _PRECEDENCE.index(roles[k].unit))
    if len(having) > 1 and roles[having[0]].unit == roles[having[1]].unit:
        raise ValueError(f"columns {names[having[0]]!r} and {names[having[1]]!r} are both a {role}")
    return having[0] if having else None


def track_name(path: Path, what: str, name: str, line: int | None = None) -> str:
    """The track that a name of an export stands for: as `plain` has it.

    Args:
        what: what has the name, in words.

    Raises:
        BadInput: it holds other signs than letters a to z, digits and underscores.
    """
    track = plain(name)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", track):
        reason = f"{what} {name!r} names no track: use letters a to z, digits and underscores"
        raise BadInput(path, reason, line)
    return track


def names_label(name: str) -> bool:
    """Whether a name has a word for what surgical data sets label, such as phase or tool."""
    return bool(_LABELS & set(words(name)))


def doubt(name: str) -> str | None:
    """Why a column of this name is not clearly a label, or None."""
    own = plain(name)
    if own in _LABELS:
        return None
    if own in _DESCRIBES or own.endswith("_id"):
        return "describes rather than labels"
    found = {word for word in words(name) if not word.isdigit()}
    if found & _LABELS:
        return None if not found & _TELLING else "nearly names a time"
    if found & _TELLING or found <= _KNOWN:
        return "nearly names a time"
    near = difflib.get_close_matches(
        own, ["start", "start_s", "end_s", "stop", "begin", "onset", "offset", "path", *CASE_FIELDS,
              "timestamp", "start_time", "end_time", "start_frame", "end_frame", "duration"],
        n=1, cutoff=0.8,
    )  # fmt: skip
    return f"nearly names {near[0]!r}" if near else None

"""The words, numbers and moments by which names of files tell parts of one operation."""

import re

_END = r"(?![^\W_])"  # no letter or digit follows
_BEGIN = r"(?<![^\W\d_])"  # no letter stands before
_SEP = r"[\W_]*"
TRIM = " _.-\u2013\u2014#+,~=&@"
_CAMERAS = (
    "left|right|links|rechts|endo|endoscope|laparoscope|scope|room|overview|ceiling|extern|external"
    "|microscope|raum|innen|aussen"
)
CHANNEL = re.compile(
    rf"{_BEGIN}(?:channel|camera|kamera|kanal|view|angle|cam|ch){_SEP}(\d{{1,2}}|[a-d]){_END}"
    rf"|(?<=[\s_.\-])({_CAMERAS}){_END}$|^(left|right|links|rechts)(?=[\W_])"
    r"|(?<=\d[\s_.\-])[lr]$",
    re.IGNORECASE,
)
_ORDINALS = (
    "one first 1st eins erste erster erstes une premier premiere primera",
    "two second 2nd zwei zweite zweiter zweites deux deuxieme segunda",
    "three third 3rd drei dritte dritter drittes trois troisieme tercera",
)
_PLACES = (
    "begin beginning start anfang beginn debut",
    "middle mid mitte milieu",
    "end ending ende schluss fin final last letzter cont continued fortsetzung forts suite",
)
ORDINALS = {word: k for k, words in enumerate(_ORDINALS, start=1) for word in words.split()}
PLACES = {word: k for k, words in enumerate(_PLACES, start=1) for word in words.split()}
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}
_WORDS = (
    "parts?|prt|pt|teil|tl|partie|parte|deel|del|część|část|часть|bölüm|パート|その|chapter|kapitel"
    "|chunk|segment|seg|section|abschnitt|disc|disk|dvd|cd|tape|kassette|clip|split|take|fragment"
    "|reel|half|hälfte|haelfte"
)
_NUMERALS = f"{'|'.join(ORDINALS)}|i{{1,3}}|iv|v"
WORD = re.compile(rf"{_BEGIN}(?:{_WORDS}){_SEP}(\d{{1,4}}|{_NUMERALS}|[a-h]){_END}", re.IGNORECASE)
# Looked for where no number follows the word: in "op 7 part 1" the 7 is no part.
WORD_BEHIND = re.compile(
    rf"(?<![^\W_])(\d{{1,3}}|{'|'.join(ORDINALS)})\.?{_SEP}"
    rf"(?:teil|part|partie|parte|half|hälfte|haelfte){_END}|第(\d{{1,3}})(?:部分?|段|集)",
    re.IGNORECASE,
)
PLACE = re.compile(rf"(?<=[\W_])({'|'.join((*ORDINALS, *PLACES))})$", re.IGNORECASE)
_OF = "of|von|sur|de|di|av|van|из"
OF = re.compile(rf"(?<!\d)(\d{{1,3}}){_SEP}(?:{_OF}){_SEP}(\d{{1,3}})(?!\d)", re.IGNORECASE)
COPY = re.compile(r"[\s_.\-]*[(\[{（【](\d{1,3})[)\]}）】]$")
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:[0-2]\d|3[01])"
_DATE = rf"(?:{_YEAR}[-_.]?\d\d[-_.]?\d\d|\d\d[-_.]\d\d[-_.]{_YEAR})"
_SHORT_DATE = rf"(?:\d\d{_MONTH}{_DAY}|{_DAY}{_MONTH}{_YEAR})"
ENDS_WITH_DATE = re.compile(rf"(?<!\d){_DATE}$")
MOMENT = re.compile(
    rf"((?<!\d)(?:{_DATE}|{_SHORT_DATE}))(?:t|[\W_]*(?:(?:at|um|à|om|kl)[\W_]+)?)"
    r"([01]?\d(?=[-_.:h])|[01]\d|2[0-3])[-_.:h]?([0-5]\d)(?:[-_.:m]?([0-5]\d))?s?"
    r"(?:[.,]\d{1,6})?(?:z|[\W_]*([ap])\.?m\.?)?$",
    re.IGNORECASE,
)
_FORMATS = r"\d{3,4}[pi]|[248]k|[hx]\.?26[45]|\d+fps|mp4|3d|2d|hd|fhd|uhd|sd"
TECHNICAL = re.compile(rf"(?<![^\W_])(?:{_FORMATS}){_END}", re.IGNORECASE)
# The same film once more: "op1 - Copy (2)", "op1_converted", "op1_720p", "Copy of op1".
_VERSIONS = (
    "copy|kopie|copie|copia|duplicate|backup|converted|transcoded|reencoded|compressed|komprimiert|"
    "resized|small|lowres|hires|proxy|preview|web|edited|edit|raw|orig|original|deinterlaced|"
    "anon|anonymi[sz]ed|anonymisiert|deidentified|blurred|cropped|trimmed|noaudio"
)
VERSION = re.compile(
    rf"^(?:copy of|kopie von|copie de|copia di|copia de)[\W_]+"
    rf"|[\W_]+(?:(?:{_VERSIONS})(?:\s*\(\d{{1,2}}\)|\s\d{{1,2}}|\))?|{_FORMATS})$",
    re.IGNORECASE,
)
OPERATION = "operation|procedure|surgery|eingriff|patient|subject|case|fall|pat|sub|op|pid"
LAST = re.compile(r"^(.*?)([^\W\d_]*)([\W_]*)(\d{1,6})$", re.DOTALL)
LEADING = re.compile(r"(\d{1,3})[\W_]+(?=[^\W\d_])(.*\d.*)", re.DOTALL)
_WEAK_WORDS = (
    "video vid v p film movie recording rec aufnahme track title seq sequence file datei cut scene "
    "episode ep vol"
)
WEAK = frozenset(_WEAK_WORDS.split())
LETTER = re.compile(r"^(.*\d)[\s_.\-]?([a-h])$", re.IGNORECASE | re.DOTALL)
GOPRO = re.compile(r"(g[hxlsp])(\d\d)(\d{4})|(gopr)(\d{4})", re.IGNORECASE)
DVD = re.compile(r"vts_(\d\d)_(\d)", re.IGNORECASE)
CAMERA = re.compile(
    r"(?:mvi|img|dscn?|dji|mov|m2u|cimg|pict|sdv|hdv|capture|rec|mah|maq|hdd|stk|prg|c(?=\d{4}))?"
    r"[\s_\-]*(\d{1,8})",
    re.IGNORECASE,
)
UID = re.compile(r"\d+(?:\.\d+){3,}")  # names of DICOM files; their last number counts nothing
TAPELESS = frozenset((".mts", ".m2ts", ".m2t", ".mod", ".tod", ".vob"))


def number(text: str) -> int:
    """The number that a numeral, a word or a letter stands for."""
    if text.isdigit():
        return int(text)
    word = text.lower()
    return ROMAN.get(word) or ORDINALS.get(word) or ord(word[0]) - ord("a") + 1

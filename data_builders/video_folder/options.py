"""How a folder of videos is understood: the configuration, and the command line that makes one."""

import dataclasses
import re

from data_builders.common.labels import headers
from data_builders.common.labels.instants import UNITS
from data_builders.common.labels.table_columns import TableOptions
from data_builders.common.source.builder import VideoConfig
from data_builders.common.source.registry import sources
from data_builders.common.source.splits import split_by_case
from data_builders.video_folder.joining import JOIN
from data_builders.video_folder.private import read_boxes
from surgrec_jax.records.errors import BuildError
from surgrec_jax.records.schema import DOMAINS
from surgrec_jax.safety.errors import ConfigError

NAME = "video_folder"


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoFolderConfig(VideoConfig):
    """How a folder of videos is understood.

    Attributes:
        dataset_name: name of the data set and of its folder, so that several can stand side by
            side.
        labels: file of cases, splits, domains and labels, a folder of such files, or None.
        label_columns: columns that are labels; None takes those that clearly are.
        time_unit: unit of time columns whose names give none: "s", "ms", "min" or "frames"; None is
            seconds.
        first_frame: number of a video's first frame in tables, 0 or 1; None is 0, where no table
            seems to count from 1.
        fold_classes: whether class names that differ only in case, spaces, `_` and `-` are one
            class.
        presence: label columns whose classes become tracks of their own, absent or present.
        trim_labels: whether labels beyond their video are cut at its end; else they are an error.
        class_from: "subfolder" for a per-video label "class" from the first subfolder, or None.
        case_from: "stem", "folder", or a regular expression over the relative path.
        join: what files are that look like parts of one operation: "none", "cases" or "parts" (see
            `joining`); None refuses splits that may tear an operation apart.
        domain: domain of all videos whose CSV row names none, or None.
        split: fractions of train, val and test dealt by case; (1.0, 0.0, 0.0) puts all into train.
            None: the CSV's split column, or else (0.8, 0.1, 0.1) with three cases in each of a few.
        seed: of that dealing.
        pseudonyms: file with a secret key (made where there is none), to store keyed hashes in
            place of the names of files and cases; None stores the names.
        blank: boxes (left, top, right, bottom as fractions of the native picture, before borders
            are cut off) that are stored black.
    """

    dataset_name: str = NAME
    labels: str | None = None
    label_columns: tuple[str, ...] | None = None
    time_unit: str | None = None
    first_frame: int | None = None
    fold_classes: bool = False
    presence: tuple[str, ...] = ()
    trim_labels: bool = False
    class_from: str | None = None
    case_from: str = "stem"
    join: str | None = None
    domain: str | None = None
    split: tuple[float, float, float] | None = None
    seed: int = 0
    pseudonyms: str | None = None
    blank: tuple[tuple[float, float, float, float], ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.dataset_name):
            raise BuildError(
                f"--name {self.dataset_name!r}: use lower-case letters, digits and underscores, "
                "beginning with a letter."
            )
        if self.dataset_name != NAME and self.dataset_name in sources():
            raise BuildError(
                f"--name {self.dataset_name!r} is the name of another source; choose another."
            )
        _one_of("--class_from", self.class_from, ("subfolder",))
        _one_of("--domain", self.domain, DOMAINS)
        _one_of("--join", self.join, JOIN)
        _one_of("--time_unit", self.time_unit, tuple(UNITS))
        _one_of("--first_frame", self.first_frame, (0, 1))
        for name, columns in (("presence", self.presence), ("label_columns", self.label_columns)):
            for column in columns or ():
                if not headers.plain(column):
                    raise BuildError(f"--{name} has an empty name; part columns by commas.")
        try:
            re.compile(self.case_from)
        except re.error as error:
            raise BuildError(
                f"--case_from {self.case_from!r} is no regular expression: {error}."
            ) from error

    @property
    def table(self) -> TableOptions:
        """How tables are read."""
        names = [field.name for field in dataclasses.fields(TableOptions)]
        return TableOptions(**{name: getattr(self, name) for name in names})


def add_arguments(parser) -> None:
    """Adds the options of a folder of videos to an argparse group."""
    add = parser.add_argument
    add("--name", dest="dataset_name", default=NAME, help="name of the data set")
    add("--labels", metavar="FILE", help="table or export of a labelling program, or a folder")
    add("--label_columns", metavar="A,B", help="columns of tables that are labels")
    add("--time_unit", choices=UNITS, help="of time columns whose names give none (default: s)")
    add("--first_frame", type=int, choices=(0, 1), help="of tables that count frames (default 0)")
    add("--fold_classes", action="store_true", help="Prep, prep and PREP are one class")
    add("--presence", metavar="A,B", help="label columns in which several classes hold at a time")
    add("--trim_labels", action="store_true", help="cut labels at the end of their video")
    add("--class_from", choices=["subfolder"], help="class = first subfolder")
    add("--case_from", default="stem", help="stem (default), folder, or a regular expression")
    add("--join", choices=JOIN, help="parts of one operation: cases of their own, one case, or one "
        "case on one clock")  # fmt: skip
    add("--domain", choices=DOMAINS, help="domain of all videos")
    add("--split", help="train,val,test fractions (default 0.8,0.1,0.1), or none")
    add("--seed", type=int, default=0, help="of the split")
    add("--pseudonyms", metavar="KEYFILE", help="store keyed hashes of file and case names")
    add("--blank", metavar="BOXES", help='parts stored black, such as "0,0,1,0.08;0.8,0.9,1,1"')


def config_from_arguments(args) -> VideoFolderConfig:
    """The configuration that a command line asks for.

    Raises:
        BuildError: an option is none; names it and the remedy.
    """
    if args.config is not None:
        raise BuildError("video_folder has no configurations; its options make one (see --help).")
    given = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(VideoFolderConfig)
        if hasattr(args, field.name)
        and field.name not in {other.name for other in dataclasses.fields(VideoConfig)}
    }
    given["label_columns"] = _list(args.label_columns)
    given["presence"] = _list(args.presence) or ()
    given["split"] = _fractions(args.split)
    given["blank"] = read_boxes(args.blank)
    return VideoFolderConfig(**given)


def _one_of(option: str, value, known) -> None:
    if value is not None and value not in known:
        choices = ", ".join(map(str, known))
        raise BuildError(f"{option} is {value!r}: choose from {choices}.")


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _fractions(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    if text == "none":
        return 1.0, 0.0, 0.0
    parts = text.split(",")
    try:
        if len(parts) != 3:
            raise ConfigError(f"these are {len(parts)}")
        train, val, test = map(float, parts)
        split_by_case([], {"train": train, "val": val, "test": test})
    except ValueError as error:
        raise BuildError(
            f"--split {text!r}: give three fractions, of train, val and test, that add up to 1, "
            f"such as 0.8,0.1,0.1, or none for all in train ({error})."
        ) from error
    return train, val, test

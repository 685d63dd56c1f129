"""Which video a file of labels means."""

import collections
import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from surgrec_jax.records.errors import BadInput, BuildError, safe_text


class Names:
    """The videos of a folder, looked up by what files of labels call them.

    A table that somebody wrote must name a video as it is called. An export names it by its place
    on another machine: there the file's name decides, when only one video has it. A file of labels
    that names no video labels the one that it is named after.
    """

    def __init__(self, videos: Collection[str], parts: Mapping[str, str]):
        """`videos`: ids; `parts`: path of a file -> the operation that it was joined into."""
        self._videos: dict[str, str] = {}
        for name in videos:
            if self._videos.setdefault(_same(name), name) != name:
                raise BuildError(
                    f"two videos are called {safe_text(name)}, with accents that are encoded in "
                    "two ways, so labels cannot tell them apart; rename one."
                )
        self._parts = {_same(path): operation for path, operation in parts.items()}
        self._sizes: dict[str, int] = {}
        for path, operation in self._parts.items():
            self._sizes[operation] = self._sizes.get(operation, 0) + 1
            self._videos.setdefault(_same(operation) + PurePosixPath(path).suffix, operation)
        if self._parts:  # beside operations a file may be called without its ending as well
            bare = [PurePosixPath(name).with_suffix("").as_posix() for name in self._videos]
            times = collections.Counter(bare)
            for name, video in list(zip(bare, self._videos.values(), strict=True)):
                if times[name] == 1:
                    self._videos.setdefault(name, video)
        self._found: dict[tuple[Path, str, bool], str | None] = {}
        self._files: dict[str, set[str]] = {}
        self._stems: dict[str, set[str]] = {}
        for name, video in self._videos.items():
            self._add(name, video)
        for name, operation in self._parts.items():
            self._add(name, operation)

    def _add(self, name: str, video: str) -> None:
        self._files.setdefault(PurePosixPath(name).name, set()).add(video)
        self._stems.setdefault(PurePosixPath(name).stem, set()).add(video)

    def find(self, file: Path, name: str, exported: bool) -> str | None:
        """The id of the video that `file` calls `name`, or None."""
        key = file, name, exported
        if key not in self._found:
            self._found[key] = self._look_up(file, name, exported)
        return self._found[key]

    def _look_up(self, file: Path, name: str, exported: bool) -> str | None:
        if not name:
            found = self._stems.get(_same(file.stem), set())
            return next(iter(found)) if len(found) == 1 else None
        wanted = _same(re.sub(r"^file:/*", "/", name).replace("\\", "/")).removeprefix("./")
        found = self._videos.get(wanted) or self._parts.get(wanted)
        if found is not None or not exported:
            return found
        path = PurePosixPath(wanted)
        for table, key in ((self._files, path.name), (self._stems, path.stem)):
            if len(table.get(key, ())) == 1:
                return next(iter(table[key]))
        return self._look_up(file, "", exported)

    def check(self, file: Path, named: Iterable[tuple[int, str]], exported: bool) -> None:
        """Makes sure that all names of a file are known.

        Raises:
            BadInput: names the first that is not, with the nearest that is.
        """
        unknown: dict[str, int] = {}
        rows: set[int] = set()
        for line, name in named:
            if name in unknown or self.find(file, name, exported) is None:
                rows.add(line)
                unknown.setdefault(name, line)
        if not unknown:
            return
        name, line = next(iter(unknown.items()))
        if not name:
            raise BadInput(
                file,
                "the header needs a column 'path' that names the video of a row, or the file must "
                "be named after its one video",
                line or None,
            )
        others = len(rows) - 1
        more = f"; and {others} more such rows" if others else ""
        raise BadInput(
            file,
            f"names {name!r}, which is not among the videos{self._hint(name)}{more}",
            line or None,
        )

    def check_clock(self, file: Path, line: int, name: str) -> None:
        """Refuses times of a file that is only a part of a joined operation.

        Raises:
            BadInput: whose clock the times count on is not known.
        """
        operation = self._parts.get(_same(name.replace("\\", "/")).removeprefix("./"))
        if operation is not None and self._sizes[operation] > 1:
            raise BadInput(
                file,
                f"gives times of {name!r}, a part of {operation!r}: with --join parts times are "
                f"those of the operation, so write {operation!r}; with --join cases files keep "
                "their own",
                line or None,
            )

    def _hint(self, name: str) -> str:
        wanted = PurePosixPath(_same(name.replace("\\", "/")).casefold())
        known = list(self._videos)[:100_000]
        for alike in (
            lambda path: path == wanted,
            lambda path: path.name == wanted.name,
            lambda path: path.stem == wanted.name or path.with_suffix("") == wanted,
        ):
            near = [video for video in known if alike(PurePosixPath(video.casefold()))]
            if len(near) == 1:
                return f" (did you mean {safe_text(near[0])!r}?)"
        close = difflib.get_close_matches(name, known[:5000], n=1)
        if close:
            return f" (did you mean {close[0]!r}?)"
        names = list(dict.fromkeys(self._videos.values()))
        shown = ", ".join(repr(safe_text(name)) for name in names[:3])
        return f" (they are called {shown}{', ...' if len(names) > 3 else ''})" if names else ""


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS writes accents as separate characters

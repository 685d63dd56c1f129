"""Records that cannot be used: each is listed once, and too many of them stop a run."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from absl import logging

from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError, UserError

FILE = "bad_records.jsonl"
SHOWN = 5  # in the message that stops a run


class BadRecordsError(UserError, ValueError):
    """More bad records than allowed; the message lists the first ones and says where all are."""


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that was met and not used.

    Attributes:
      source: name/split of its source. record: its number there.
      why: a sentence that names the shard, the place in it, and what is wrong.
    """

    source: str
    record: int
    why: str


class BadRecords:
    """The bad records of a run: counted, logged and listed once each, bounded per source.

    Args:
      sizes: name/split of a source -> its records.
      max_share: the share of a source's records, rounded up, that may be bad. 0: none.
      path: where they are listed, one JSON object a line; what stands there from earlier starts of
        the run counts. None: nowhere.
    """

    def __init__(self, sizes: dict[str, int], max_share: float, path: Path | None = None):
        if not 0 <= max_share <= 1:
            raise ConfigError(f"max_bad_share is {max_share}: give a share from 0 to 1")
        share = Fraction(
            str(max_share)
        )  # as it was written: 0.07 * 100 is 7, not 7.000000000000001
        self._allowed = {name: -int(-size * share // 1) for name, size in sizes.items()}
        self._sizes, self._path = sizes, path
        self._found: dict[tuple[str, int], BadRecord] = {}
        if path is not None and path.exists():
            self._found = {(bad.source, bad.record): bad for bad in _read(path)}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, records: Iterable[BadRecord]) -> None:
        """Takes what a batch met; those already known change nothing.

        Raises:
          BadRecordsError: a source has more than its share now.
        """
        for bad in records:
            if (bad.source, bad.record) in self._found:
                continue
            self._found[bad.source, bad.record] = bad
            logging.warning("bad record %d, skipped: %s", len(self), bad.why)
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(bad)) + "\n")
            self._check(bad.source)

    def _check(self, source: str) -> None:
        mine = [bad for bad in self._found.values() if bad.source == source]
        allowed = self._allowed.get(source, 0)
        if len(mine) <= allowed:
            return
        shown = "; ".join(bad.why for bad in mine[-SHOWN:])
        more = f" (and {len(mine) - SHOWN} more)" if len(mine) > SHOWN else ""
        kept = "" if self._path is None else f" All are listed in {self._path}."
        remedy = "remove that file then, " if self._path is not None else ""
        raise BadRecordsError(
            f"{len(mine)} of {self._sizes.get(source, 0)} records of {source} are bad, {allowed} "
            f"are allowed by data.max_bad_share: {shown}{more}.{kept} Repair the data, {remedy}or "
            "allow more, and give the same command again"
        )


def _read(path: Path) -> Sequence[BadRecord]:
    """The lines of a list, without one that a crash cut short."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            values = untrusted.parse_json(line)
            found.append(
                BadRecord(str(values["source"]), int(values["record"]), str(values["why"]))
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            logging.warning("%s holds a line that is no bad record; passed over: %.80r", path, line)
    return found

"""The audit of `data_builders` for the data behind a score: its splits, and whether the encoder was
pretrained on the test cases."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from surgrec_jax.audit import across, pretraining, rules
from surgrec_jax.frozen import lineage
from surgrec_jax.records.errors import BadInput, BuildError
from surgrec_jax.records.prepared import prepared_at
from surgrec_jax.records.source import Source
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

VERSION = 2


class Audits:
    """Audits of prepared data sets, kept on disk: reading all records of a large set takes long.

    Args:
      folder: of the kept audits.
      data_dir: where a pretraining source is looked for that has moved.
    """

    def __init__(self, folder: str | os.PathLike, data_dir: str | os.PathLike):
        self.folder, self.data_dir = pathlib.Path(folder), pathlib.Path(data_dir)
        self._read: dict[pathlib.Path, rules.Audited] = {}

    def verdict(self, source: Source) -> dict[str, Any]:
        """Facts and broken rules of a data set, JSON-able."""

        def make() -> dict:
            data = self._audited(source.directory)
            facts = rules.facts(data)
            findings = [vars(finding) for finding in rules.findings(data, facts)]
            return {"name": data.name, "facts": facts, "findings": findings}

        return self._kept(f"verdict {source.directory} {source.fingerprint}", make)

    def overlap(self, meta: Mapping[str, Any], source: Source) -> dict[str, str]:
        """Tells whether an encoder was pretrained on test cases of a data set.

        Args:
          meta: of its checkpoint; "sources" is what `train` recorded, see `lineage`.
          source: any split of the data set.

        Returns:
          "status": "none", "found", "possible" or "unknown"; "text": a sentence.
        """
        if not lineage.complete(meta):
            text = "the checkpoint does not record all that its weights were trained on"
            return {"status": "unknown", "text": text}
        recorded = meta["sources"]

        def make() -> dict:
            used = [(self._used(entry), entry["split"]) for entry in recorded]
            tests = [self._audited(source.directory)]
            findings = across.pretraining_on_test(used, tests)
            names = ", ".join(
                dict.fromkeys(f"{pretraining.title(e)}@{e['split']}" for e in recorded)
            )
            unread = [data.name for data, _ in used if not data.splits]
            if not findings:
                # Nothing is known to overlap; of sources that were not read only by name.
                by_name = f" ({', '.join(unread)} compared by name only)" if unread else ""
                text = f"no test case among those of pretraining: {names}{by_name}"
                return {"status": "none", "text": text}
            sure = any(finding.text.endswith("were pretrained on") for finding in findings)
            text = "; ".join(f"{finding.name}: {finding.text}" for finding in findings)
            return {"status": "found" if sure else "possible", "text": text}

        return self._kept(f"overlap {json.dumps(recorded)} {source.fingerprint}", make)

    def _audited(self, directory: pathlib.Path) -> rules.Audited:
        if directory not in self._read:
            self._read[directory] = rules.from_prepared(prepared_at(directory))
        return self._read[directory]

    def _used(self, entry: Mapping[str, Any]) -> rules.Audited:
        """A pretraining source: read where it was, else where data sets are now, else a name."""
        prepared = pretraining.find(entry, self.data_dir)
        if prepared is None:
            return rules.Audited(pretraining.title(entry), entry["name"], {})
        return self._audited(prepared.directory)

    def _kept(self, key: str, make: Callable[[], dict]) -> dict:
        path = self.folder / f"{hashlib.sha256(f'{VERSION} {key}'.encode()).hexdigest()[:24]}.json"
        try:
            return untrusted.read_json(path)
        except (OSError, DataError):
            pass  # not there, or not whole: made again
        try:
            value = make()
        except (BuildError, BadInput) as error:
            return {"status": "unknown", "text": f"audit failed: {error}", "failed": str(error)}
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, value)
        return json.loads(json.dumps(value))


def facts(
    metas: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, Mapping[str, Source]],
    folder: str | os.PathLike,
    data_dir: str | os.PathLike,
) -> dict[str, dict]:
    """The parts of a comparison's results that audits give.

    Args:
      metas: encoder -> meta of its checkpoint. sources: data set -> split -> source.
      folder, data_dir: as for `Audits`.

    Returns:
      "audit": data set -> verdict; "overlap": encoder -> data set -> overlap.
    """
    audits = Audits(folder, data_dir)
    firsts = {name: next(iter(splits.values())) for name, splits in sources.items()}
    return {
        "audit": {name: audits.verdict(first) for name, first in firsts.items()},
        "overlap": {
            model: {name: audits.overlap(meta, first) for name, first in firsts.items()}
            for model, meta in metas.items()
        },
    }


def lines(overlaps: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Sequence[str]:
    """Sentences for the terminal: model -> source -> overlap."""
    return [
        f"pretraining of {model} and test cases of {source}: {overlap['text']}"
        for model, of_model in overlaps.items()
        for source, overlap in of_model.items()
    ]

"""Audits of the data behind a score: its splits, and test cases in the encoder's pretraining."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from surgrec_jax.audit import across, pretraining, rules
from surgrec_jax.frozen import lineage
from surgrec_jax.records.prepared import Prepared, prepared_at
from surgrec_jax.records.source import Source
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError, UserError

VERSION = 4


class Audits:
    """Audits of prepared data sets, cached on disk, as reading a large data set takes long.

    Args:
        folder: folder of the cached audits.
        data_dir: folder of data sets, for a pretraining source that has moved.
    """

    def __init__(self, folder: str | os.PathLike, data_dir: str | os.PathLike):
        self.folder, self.data_dir = pathlib.Path(folder), pathlib.Path(data_dir)
        self._data_sets: dict[pathlib.Path, rules.Audited] = {}

    def verdict(self, source: Source) -> dict[str, Any]:
        """The facts and broken rules of a data set as JSON values."""

        def make() -> dict:
            data = self._audited(source.directory)
            facts = rules.facts(data)
            findings = [vars(finding) for finding in rules.findings(data, facts)]
            return {"name": data.name, "facts": facts, "findings": findings}

        return self._cached(f"verdict {source.directory} {source.fingerprint}", make)

    def overlap(
        self, meta: Mapping[str, Any], source: Source, everyone: bool = False
    ) -> dict[str, str]:
        """Tells whether an encoder was pretrained on test cases of a data set.

        Args:
            meta: JSON values of its checkpoint, with the "sources" of `lineage`.
            source: any split of the data set.
            everyone: whether the cases of all its splits are tested.

        Returns:
            "status": "none", "found", "possible" or "unknown"; "text": a sentence.
        """
        if not lineage.complete(meta):
            text = "the checkpoint does not record all that its weights were trained on"
            return {"status": "unknown", "text": text}
        recorded = meta["sources"]
        try:
            found_at = [pretraining.find(entry, self.data_dir) for entry in recorded]
        except UserError as error:
            return {"status": "unknown", "text": f"audit failed: {error}", "failed": str(error)}

        def make() -> dict:
            used = [
                (self._used(entry, at), entry["split"])
                for entry, at in zip(recorded, found_at, strict=True)
            ]
            data = self._audited(source.directory)
            tests = [data.all_tested() if everyone else data]
            findings = across.pretraining_on_test(used, tests)
            names = ", ".join(
                dict.fromkeys(f"{pretraining.title(e)}@{e['split']}" for e in recorded)
            )
            unread = [data.name for data, _ in used if not data.splits]
            if not findings:
                # Sources that were not read are known by name only.
                by_name = f" ({', '.join(unread)} compared by name only)" if unread else ""
                text = f"no test case among those of pretraining: {names}{by_name}"
                return {"status": "none", "text": text}
            text = "; ".join(f"{finding.name}: {finding.sentence()}" for finding in findings)
            if any(finding.sure for finding in findings):
                return {"status": "found", "text": text}
            may = any(finding.rule == across.RULE for finding in findings)
            return {"status": "possible" if may else "unknown", "text": text}

        where = [str(at and at.directory) for at in found_at]
        return self._cached(
            f"overlap {json.dumps([recorded, where])} {source.directory} {source.fingerprint}"
            + " everyone" * everyone,
            make,
        )

    def _audited(self, directory: pathlib.Path) -> rules.Audited:
        if directory not in self._data_sets:
            self._data_sets[directory] = rules.from_prepared(prepared_at(directory))
        return self._data_sets[directory]

    def _used(self, entry: Mapping[str, Any], prepared: Prepared | None) -> rules.Audited:
        """A pretraining source: read where it lies, else a name."""
        if prepared is None:
            return rules.Audited(pretraining.title(entry), entry["name"], {})
        return self._audited(prepared.directory)

    def _cached(self, key: str, make: Callable[[], dict]) -> dict:
        path = self.folder / f"{hashlib.sha256(f'{VERSION} {key}'.encode()).hexdigest()[:24]}.json"
        try:
            return untrusted.read_json(path)
        except (OSError, DataError):
            pass  # it is missing or damaged, and made again
        try:
            value = make()
        except UserError as error:
            return {"status": "unknown", "text": f"audit failed: {error}", "failed": str(error)}
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, value)
        return json.loads(json.dumps(value))


def facts(
    metas: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, Mapping[str, Source]],
    folder: str | os.PathLike,
    data_dir: str | os.PathLike,
    everyone: bool = False,
) -> dict[str, dict]:
    """The parts of a comparison's results that audits give.

    Args:
        metas: meta of its checkpoint by encoder.
        sources: source by data set and split.
        folder, data_dir: arguments of `Audits`.
        everyone: whether the cases of all splits are tested.

    Returns:
        "audit": data set -> verdict; "overlap": encoder -> data set -> overlap.
    """
    audits = Audits(folder, data_dir)
    firsts = {name: next(iter(splits.values())) for name, splits in sources.items()}
    return {
        "audit": {name: audits.verdict(first) for name, first in firsts.items()},
        "overlap": {
            model: {name: audits.overlap(meta, first, everyone) for name, first in firsts.items()}
            for model, meta in metas.items()
        },
    }


def lines(overlaps: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Sequence[str]:
    """Formats overlaps, by model and source, as sentences for the terminal."""
    return [
        f"pretraining of {model} and test cases of {source}: {overlap['text']}"
        for model, of_model in overlaps.items()
        for source, overlap in of_model.items()
    ]

"""The `audit` command: tells what is wrong with splits and labels, as text and as JSON."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.commands.settings import write_json
from data_builders.common.source import registry
from surgrec_jax.audit import patients, pretraining, surgrec_v1
from surgrec_jax.audit import rules as audit
from surgrec_jax.audit.across import UNKNOWN, across, pretraining_on_test
from surgrec_jax.audit.duplicates import find_duplicates
from surgrec_jax.audit.published_scores import MODELS, SCORES, equal_to
from surgrec_jax.audit.published_scores import means as published_means
from surgrec_jax.next_commands import after_audit, say
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.records.prepared import choose_prepared
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError

FORMAT = 1


def add_audit(commands, argv: Sequence[str]) -> None:
    """Adds the command's parser."""
    del argv
    rules = "\n".join(f"  {rule:<22}{what}" for rule, what in audit.RULES.items())
    parser = commands.add_parser(
        "audit",
        help="check splits for shared cases, leaks and trivial majorities",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Audits prepared data sets, or a copy of the published SurgRec split files.",
        epilog=f"rules for --fail_on:\n{rules}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets or folders (all)")
    parser.add_argument("--data_dir", help="root of the prepared data sets")
    parser.add_argument("--splits_dir", help="copy of the published SurgRec split files")
    parser.add_argument(
        "--pretraining",
        metavar="RUN|LIST",
        help="a run's folder or environment.json, or what was used as name[/config][@split],...",
    )
    parser.add_argument(
        "--duplicates", action="store_true", help="compare the pictures of --data_dir too (slow)"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything there as JSON")
    parser.add_argument(
        "--fail_on", default="", metavar="RULES", help="exit with 1 when one is broken; or `all`"
    )
    parser.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> int:
    chosen = _rules(args.fail_on)
    data_dir = Path(args.data_dir) if args.data_dir else None
    sets = _data_sets(args, data_dir)
    used = _pretraining(args.pretraining, data_dir) if args.pretraining else []
    report, findings = [], []
    for data in sets:
        if not data.splits:
            continue  # known by name only
        fact = audit.facts(data)
        report.append({"name": data.name, "source": data.source, **fact})
        findings += audit.findings(data, fact)
    findings += across(sets) + pretraining_on_test(used, sets)
    duplicates = []
    if args.duplicates:
        if data_dir is None or args.splits_dir:
            raise BuildError("--duplicates compares prepared data sets: give --data_dir.")
        duplicates = find_duplicates(choose_prepared(data_dir, args.names))
        findings += [found.finding() for found in duplicates]
    broken = sorted({finding.rule for finding in findings} & chosen)
    if report:
        print(table(report))
        print()
    print(listing(findings, chosen))
    if args.json:
        everything = {
            "format": FORMAT,
            "data_sets": report,
            "findings": [vars(finding) for finding in findings],
            **({"duplicates": [d.to_json() for d in duplicates]} if args.duplicates else {}),
            "rules": sorted(chosen),
            "broken": broken,
        }
        write_json(args.json, everything)
    if broken:
        print(f"broken: {', '.join(broken)}")
    if sets:
        say(after_audit(sets[0].name, args.data_dir, len(findings)))
    return 1 if broken else 0


def _rules(text: str) -> set[str]:
    names = {name for name in text.split(",") if name}
    if names == {"all"}:
        return set(audit.RULES)
    if unknown := sorted(names - set(audit.RULES)):
        raise BuildError(
            f"--fail_on {unknown[0]!r} is no rule; choose from {', '.join(audit.RULES)}, or all."
        )
    return names


def _data_sets(args, data_dir: Path | None) -> list[audit.Audited]:
    if args.splits_dir:
        folders = surgrec_v1.find_folders(Path(args.splits_dir))
        names = args.names or sorted(folders, key=str.lower)
        for name in names:
            if name not in folders:
                there = ", ".join(sorted(folders))
                raise BuildError(f"there is no folder {name!r} in --splits_dir; there: {there}.")
        return [audit.from_split_files(name, folders[name]) for name in names]
    if data_dir is not None:
        return [audit.from_prepared(p) for p in choose_prepared(data_dir, args.names)]
    if not args.names:
        raise BuildError("give --data_dir, --splits_dir, or names of sources to compare.")
    return [_by_name(name) for name in args.names]


def _by_name(name: str) -> audit.Audited:
    """A data set that is not here; only what is known of its overlaps can be told."""
    source = name.partition("/")[0]
    known = sorted(set(registry.sources()) | patients.known_names())
    if source not in known:
        raise BuildError(
            f"nothing is known of {source!r}: it is not prepared in --data_dir, and not one of "
            f"{', '.join(known)}."
        )
    return audit.Audited(name, source, {})


def _pretraining(text: str, data_dir: Path | None) -> list[tuple[audit.Audited, str]]:
    """The data sets a run used, each with its split; read where they still stand."""
    path = Path(text)
    if (path / "environment.json").is_file():
        path = path / "environment.json"
    if path.suffix != ".json":
        entries = []
        for part in text.split(","):
            name, _, split = part.partition("@")
            entries.append({"name": name.partition("=")[0], "split": split or "train"})
    else:
        try:
            with untrusted.interpreting(path):
                starts = untrusted.read_json(path, list)
                entries = [source for start in starts for source in start["sources"]]
                entries = [dict(e, name=e["name"], split=e.get("split", "")) for e in entries]
        except (OSError, UserError) as error:
            raise BuildError(
                f"--pretraining {safe_text(path)} is not the environment.json of a run: {error!r}."
            ) from error
    used: dict[tuple, tuple[audit.Audited, str]] = {}
    for entry in entries:
        key = pretraining.title(entry), entry["split"], entry.get("directory")
        if key not in used:
            used[key] = _used(entry, data_dir), entry["split"]
    return list(used.values())


def _used(entry: dict, data_dir: Path | None) -> audit.Audited:
    name = pretraining.title(entry)
    if not entry["split"]:  # of a checkpoint the run began with (`surgrec_jax.frozen.lineage`)
        return audit.Audited(name, UNKNOWN, {})
    if found := pretraining.find(entry, data_dir):
        return audit.from_prepared(found)
    if data_dir is not None:
        where = safe_text(data_dir)
        print(f"note: pretraining source {name} is not in {where}: it is compared by name only.")
    try:
        return _by_name(name)
    except UserError:
        if "directory" not in entry:  # typed
            raise
        print(f"note: pretraining source {name}: its data are gone; it is compared with nothing.")
        return audit.Audited(name, name, {})


def table(report: list[dict]) -> str:
    """One line per data set and label: sizes, cases, shared ones, majority rates."""
    lines = [
        f"{'data set':<32}{'clips train/val/test':>22}{'cases':>14}{'val=test':>10}"
        f"{'shared':>8}{'majority of train':>19}{'of test':>9}"
    ]
    for fact in report:
        shared = fact["shared"].get("train/test")
        start = (
            f"{fact['name']:<32}{_per_split(fact['rows']):>22}{_per_split(fact['cases']):>14}"
            f"{ {True: 'yes', False: 'no', None: '-'}[fact['val_equals_test']]:>10}"
            f"{'-' if shared is None else len(shared):>8}"
        )
        labels = list(fact["labels"].items())
        if not labels:
            lines.append(start)
        for index, (name, label) in enumerate(labels):
            first = start if index == 0 else ""
            if len(labels) > 1:
                lines += [first] if first else []
                first = f"  {name}"
            rates = f"{_rate(label['test_rate']):>19}{_rate(label['test_majority_rate']):>9}"
            lines.append(f"{first:<{len(start)}}{rates}")
    lines += _means(report)
    lines.append("shared: cases of test that are in train; majority: % of test it is right on.")
    return "\n".join(lines)


def _means(report: list[dict]) -> list[str]:
    """For a whole release: mean rates, beside the published scores."""
    labels = {fact["name"]: fact["labels"].get("label") for fact in report}
    if not set(SCORES) <= set(labels):
        return []
    whole = {folder: labels[folder] for folder in SCORES}
    rates = []
    for key in ("test_rate", "test_majority_rate"):
        known = [label[key] for label in whole.values() if label and label[key] is not None]
        rates.append(sum(known) / len(known) if len(known) == len(whole) else None)
    title = f"mean of the {len(whole)} of the benchmark"
    lines = [f"{title:<86}{_rate(rates[0]):>19}{_rate(rates[1]):>9}"]
    if rates[0] is not None:
        trivial = sum(len(equal_to(folder, whole[folder]["test_rate"])) for folder in SCORES)
        means = ", ".join(f"{model} {mean:.2f}" for model, mean in published_means().items())
        lines += [
            f"the paper's means over them: {means}",
            f"{trivial} of the {len(MODELS) * len(SCORES)} published scores equal the majority of "
            "train, to the last digit",
        ]
    return lines


def listing(findings: Sequence[audit.Finding], chosen: set[str]) -> str:
    """The findings, those of the chosen rules marked with `!`."""
    if not findings:
        return "nothing found."
    lines = [f"found: {len(findings)}"]
    for finding in findings:
        mark = "!" if finding.rule in chosen else " "
        lines.append(f"{mark} {finding.name:<34}  {finding.rule:<22}{finding.sentence()}")
    return "\n".join(lines)


def _per_split(counts: dict) -> str:
    order = [split for split in surgrec_v1.SPLITS if split in counts]
    order += sorted(set(counts) - set(order))
    return "/".join("?" if counts[split] is None else str(counts[split]) for split in order)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

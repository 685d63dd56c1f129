"""The `list` command: all sources, their licences, and what is prepared."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.build.build_lock import unfinished
from data_builders.common.build.summary import human_bytes
from data_builders.common.source import registry
from surgrec_jax.audit.catalogue import source_info
from surgrec_jax.records.errors import safe_text
from surgrec_jax.records.prepared import Prepared, counts, find_prepared
from surgrec_jax.safety.terminal import aligned

_COLUMNS = ("source", "domain", "videos", "cases", "classes", "task", "licence", "access")
_COLUMNS += ("prepared",)


def add_list(commands, argv: Sequence[str]) -> None:
    """Adds the command's parser."""
    del argv
    parser = commands.add_parser(
        "list", help="all sources, and what is prepared", allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="tell all about these sources")
    parser.add_argument("--data_dir", help="root of the prepared data sets")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> int:
    names = args.names or registry.sources()
    classes = {name: registry.builder_class(name) for name in names}
    data_dir = Path(args.data_dir) if args.data_dir else None
    prepared = find_prepared(data_dir) if data_dir else []
    if args.json:
        print(json.dumps([_facts(name, classes[name], prepared) for name in names], indent=1))
        return 0
    if args.names:
        for name in names:
            print(_details(_facts(name, classes[name], prepared)))
        return 0
    rows = [_COLUMNS]
    for name in names:
        fact = _facts(name, classes[name], prepared)
        done = ", ".join(dict.fromkeys(p["config"] or "yes" for p in fact["prepared"]))
        cells = dict(fact, source=name, prepared=done or ("-" if data_dir else ""))
        rows.append(["?" if cells[title] is None else str(cells[title]) for title in _COLUMNS])
    print(*aligned(rows), sep="\n")
    print("? not known; `list NAME` tells classes, address and what may be shared.")
    if data_dir is None:
        print("give --data_dir to see what is prepared there.")
        return 0
    print(f"prepared in {safe_text(data_dir)}:")
    for one in prepared:
        print(f"  {one.title + '/' + one.version:<44}{counts(one)} records, {_size(one)}")
    for name in unfinished(data_dir):
        print(f"  {name:<44}unfinished: run its build again")
    if not prepared:
        print("  nothing")
    return 0


def _facts(name: str, builder_class, prepared: Sequence[Prepared]) -> dict:
    document = (builder_class.__doc__ or "").strip()
    return {
        "name": name,
        "about": document.splitlines()[0] if document else "",
        **dataclasses.asdict(source_info(name, builder_class)),
        "configs": [config.name for config in builder_class.BUILDER_CONFIGS],
        "tracks": {track: list(names) for track, names in builder_class.TRACKS.items()},
        "video_labels": {label: list(names) for label, names in builder_class.VIDEO_LABELS.items()},
        "maps": {name: list(names or ["depth"]) for name, names in builder_class.MAPS.items()},
        "boxes": {name: list(names) for name, names in builder_class.BOXES.items()},
        "prepared": [
            {"config": p.config, "version": p.version, "records": counts(p)}
            for p in prepared
            if p.name == name
        ],
    }


def _details(fact: dict) -> str:
    lines = [f"{fact['name']}: {fact['about']}"]
    for title in ("domain", "task", "videos", "cases", "licence", "sharing", "access", "url"):
        value = "not known" if fact[title] is None else fact[title]
        lines.append(f"  {title:<16}{value}")
    if not fact["patients"]:
        lines.append(f"  {'patients':<16}the owner does not tell which cases are one patient")
    lines.append(f"  {'configurations':<16}{', '.join(fact['configs'])}")
    for kind in ("tracks", "video_labels", "maps", "boxes"):
        for name, classes in fact[kind].items():
            lines.append(
                f"  {kind.removesuffix('s').replace('_', ' '):<16}{name}: {', '.join(classes)}"
            )
    for one in fact["prepared"]:
        lines.append(f"  {'prepared':<16}{one['config']} {one['version']}: {one['records']}")
    return "\n".join(lines)


def _size(prepared: Prepared) -> str:
    return human_bytes(sum(f.stat().st_size for f in prepared.directory.iterdir() if f.is_file()))

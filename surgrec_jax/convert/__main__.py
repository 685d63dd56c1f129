"""Checkpoints in and out.

python -m surgrec_jax.convert inspect FILE
python -m surgrec_jax.convert import FILE --out WORKDIR [--family auto] [--encoder target]
python -m surgrec_jax.convert import hf://OWNER/NAME[@REVISION][:FILE] --out WORKDIR
python -m surgrec_jax.convert export WORKDIR --format transformers --out FOLDER [--whole]
python -m surgrec_jax.convert zoo [NAME...]
"""

import argparse
import json
import re
from collections.abc import Sequence

from surgrec_jax.convert import (
    ConvertError,
    ImportOptions,
    export_checkpoint,
    hub,
    import_file,
    zoo,
)
from surgrec_jax.convert.exporter import FORMATS
from surgrec_jax.convert.families import ALIASES, FAMILIES, recognise
from surgrec_jax.convert.files import open_file
from surgrec_jax.convert.strict import count
from surgrec_jax.next_commands import after_export, after_import, after_inspecting, say
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import run_command
from surgrec_jax.safety.terminal import command_parser, run_escaped


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; a user's mistake ends in one sentence and exit code 1."""
    args = _parser().parse_args(argv)

    def work() -> int:
        on_hub = args.run is _import and args.file.startswith(hub.SCHEME)
        paths.check_arguments(vars(args), allowed=("file",) if on_hub else ())
        return args.run(args) or 0

    return run_command("convert", work)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("surgrec_jax.convert", __doc__)
    commands = parser.add_subparsers(required=True, metavar="inspect|import|export|zoo")

    inspect = commands.add_parser(
        "inspect", allow_abbrev=False, help="what a file is, and what is in it"
    )
    inspect.add_argument("file")
    inspect.set_defaults(run=_inspect)

    load = commands.add_parser(
        "import", allow_abbrev=False, help="a file of another project as a checkpoint"
    )
    load.add_argument(
        "file", help=".pth, .pt, .safetensors, a transformers folder, or hf://OWNER/NAME"
    )
    load.add_argument("--out", required=True, help="workdir to make")
    load.add_argument("--family", default="auto", help=", ".join(("auto", *FAMILIES, *ALIASES)))
    load.add_argument("--encoder", default="target", help="target (the EMA) or online")
    load.add_argument("--num_frames", type=int, help="of the clips it was trained on")
    load.add_argument("--image_size", type=_size, help="it was trained on, 224 or 224x320")
    load.add_argument("--fps", type=float, help="of the clips it was trained on")
    load.add_argument("--heads", type=int, help="attention heads of the encoder")
    load.add_argument("--head_heads", type=int, help="of its decoder, predictor or probe")
    load.add_argument("--norm_eps", type=float, help="LayerNorm epsilon")
    load.add_argument("--resize_to", type=_clip, help="FRAMESxHEIGHTxWIDTH; resizes positions")
    load.add_argument("--resize_method", default="interpolate", help="interpolate or extend")
    load.add_argument("--mask_tokens", type=_numbers, help="of a predictor, e.g. 0,0; all of them")
    load.add_argument("--frames", default="apart", help="of an image encoder: apart or inflated")
    load.add_argument("--probe", type=int, help="which attentive probe of several; the first")
    load.add_argument("--encoder_from", help="workdir of the encoder that probes stand on")
    load.add_argument("--expect", help=".npz of clips and the original model's tokens, or none")
    load.set_defaults(run=_import)

    save = commands.add_parser(
        "export", allow_abbrev=False, help="a checkpoint in another project's format"
    )
    save.add_argument("workdir", help="a workdir, or one step's folder")
    save.add_argument("--format", required=True, help=", ".join(FORMATS))
    save.add_argument("--out", required=True, help="folder to make")
    save.add_argument("--step", type=int, help="of a workdir; the newest")
    save.add_argument("--encoder", default="target", help="target (the EMA) or online")
    save.add_argument("--whole", action="store_true", help="with decoder, predictor or head")
    save.set_defaults(run=_export)

    public = commands.add_parser(
        "zoo", allow_abbrev=False, help="public encoders, and how to import and compare them"
    )
    public.add_argument("names", nargs="*", metavar="NAME", help="of the table; all of them")
    public.set_defaults(run=_zoo)
    return parser


def _inspect(args: argparse.Namespace) -> None:
    file = open_file(args.file)
    shapes = file.shapes()
    try:
        family = recognise(shapes)
        print(f"{args.file}: {family or 'of no family known here'}")
    except ConvertError as error:
        family = None
        print(f"{args.file}: {error}")
    print(f"{len(shapes)} tensors, {count(shapes):,} numbers, {', '.join(sorted(file.dtypes()))}")
    groups: dict[str, list[str]] = {}
    for key in shapes:
        groups.setdefault(re.sub(r"(?<=[./])\d+(?=[./])", "*", key), []).append(key)
    for pattern, keys in groups.items():
        times = f" x {len(keys)}" if len(keys) > 1 else ""
        print(f"  {pattern} {list(shapes[keys[0]])}{times}")
    if family:
        say(after_inspecting(args.file))


def _import(args: argparse.Namespace) -> None:
    names = ImportOptions.__dataclass_fields__
    options = ImportOptions(**{name: getattr(args, name) for name in names})
    meta = import_file(
        args.file, args.out, options, encoder_from=args.encoder_from, expect=args.expect
    )
    print(f"{args.file} -> {args.out}")
    print(json.dumps({k: meta[k] for k in ("encoder", "fps", "parts", "import")}, indent=1))
    say(after_import(args.out))


def _export(args: argparse.Namespace) -> None:
    written = export_checkpoint(
        args.workdir,
        args.out,
        args.format,
        step=args.step,
        encoder=args.encoder,
        whole=args.whole,
    )
    print("\n".join(map(str, written)))
    say(after_export(args.out))


def _zoo(args: argparse.Namespace) -> None:
    entries = zoo.chosen(args.names)
    print(zoo.table(entries), "", *map(zoo.import_command, entries), sep="\n")
    print("", zoo.compare_command(entries), sep="\n")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.split("[x,]", text))


def _size(text: str) -> tuple[int, int]:
    height, width = _numbers(text) if "x" in text else 2 * _numbers(text)
    return height, width


def _clip(text: str) -> tuple[int, int, int]:
    frames, height, width = _numbers(text)
    return frames, height, width


if __name__ == "__main__":
    run_escaped(main)

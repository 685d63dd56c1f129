"""What hours of video and a recipe ask for: cores, terabytes, days. Nothing is run.

    python -m surgrec_jax.bench sizing --hours=5000
    python -m surgrec_jax.bench sizing --hours=5000 --config=configs/jepa.py --cards=16 --cores=64
    python -m surgrec_jax.bench sizing --hours=5000 --card=h100 --clips_per_second=1500

Speeds of builds and of the loader are those that were measured on a CPU (docs/performance.md). The
clips per second of a card are ASSUMED, from its peak, until yours are given (`bench step` on the
card measures them); FLOPs of a clip and parameters are counted in the model of the config.
"""

import argparse
from typing import Any

import jax

from surgrec_jax import commands
from surgrec_jax.compile_report.targets import CHIPS, GIB, Chip
from surgrec_jax.records.schema import RecordSpec
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import Setup, build_setup, make_mesh

# Measured on a core of an AMD EPYC (docs/performance.md): seconds of 480-line video a second of a
# build, GB of records per hour, clips a second of the loader by crops per decoded record.
BUILD_SPEED, GB_PER_HOUR = 58.0, 0.69
LOADER_SPEED = {1: 93.0, 4: 194.0}
# Counted in the programs for an H200 (docs/performance.md, remat=dots): seconds that a clip needs
# at least, and bytes that it moves outside products and attention; and the share of the peak that
# is assumed there.
COUNTED = {("mae", "B"): (0.105 / 256, 217 * GIB / 256, 0.40)}
COUNTED |= {("jepa", "L"): (0.530 / 128, 905 * GIB / 128, 0.45)}
ASSUMED = 0.40  # where nothing was counted
LOCAL_FROM = 3.0  # GB/s of random reads that one should not ask of a shared file system


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench sizing`."""
    add = parser.add_argument
    add("--hours", type=float, required=True, help="of video")
    add("--config", default="configs/mae.py", help="config file[:variant]")
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config values to change")
    add("--card", default="h200,h100", help=f"kinds beside each other, of {', '.join(CHIPS)}")
    add("--cards", type=int, default=8, help="how many train")
    add("--cores", type=int, default=32, help="of the machine that builds")
    add("--build_speed", type=float, default=BUILD_SPEED,
        help="seconds of video that a core builds in one (bench builder)")  # fmt: skip
    add("--gb_per_hour", type=float, default=GB_PER_HOUR, help="of records")
    add("--loader_speed", type=float, help="clips per second of a core (bench loader)")
    add("--mfu", type=float, help="share of the peak that a step reaches, 0 to 1")
    add("--clips_per_second", type=float, help="of one card (bench step), in place of --mfu")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures, by what they are of; texts say which were measured and which are assumed.

    Raises:
        ConfigError: a number that is not possible, or a kind of card that is not known.
    """
    numbers = ("hours", "cards", "cores", "build_speed", "gb_per_hour", "loader_speed", "mfu",
               "clips_per_second")  # fmt: skip
    for name in numbers:
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name}={value:g}: give a number above 0")
    if args.mfu is not None and args.mfu > 1:
        raise ConfigError(f"--mfu={args.mfu:g}: give a share of the peak, 0 to 1")
    kinds = commands.items(args.card)
    for kind in kinds:
        if kind not in CHIPS:
            raise ConfigError(f"--card={kind} is not known: choose from {', '.join(CHIPS)}")
    config = commands.load_config(args.config, [*args.set, "mesh.fsdp=1"], "surgrec_jax")
    setup = build_setup(config, make_mesh(config))
    clips = config.steps * config.batch_size
    records = 3600 * args.hours * RecordSpec().fps / RecordSpec().frames
    return {
        "corpus": corpus(args),
        "recipe": {
            "config": args.config,
            "clips": clips,
            "draws_of_a_record": clips / records,
            "tflop_per_clip": setup.objective.flops() / 1e12,
            "checkpoint_gigabytes": _checkpoint_bytes(setup) / 1e9,
            "rests_on": "counted in the model",
        },
        **{f"{args.cards} x {kind}": _training(args, setup, kind) for kind in kinds},
    }


def corpus(args: argparse.Namespace) -> dict[str, Any]:
    """What building and storing the hours takes."""
    core_hours = args.hours / args.build_speed
    return {
        "hours_of_video": args.hours,
        "core_hours_to_build": core_hours,
        f"hours_to_build_on_{args.cores}_cores": core_hours / args.cores,
        "records_terabytes": args.hours * args.gb_per_hour / 1000,
        "rests_on": f"{args.build_speed:g} s of video a core second, {args.gb_per_hour:g} GB an "
        "hour: measured on a CPU at 480 lines, unless you gave yours",
    }


def share_of_peak(objective: str, preset: str, chip: Chip) -> float:
    """The MFU that is assumed for a step.

    A card whose memory is slower than an H200's is as far from its own bound as an H200 is assumed
    to be from that one's, where the step's bytes have been counted.
    """
    least, moved, share = COUNTED.get((objective, preset), (1.0, 0.0, ASSUMED))
    if not chip.bandwidth:
        return share
    reference = CHIPS["h200"]
    bound = least + moved * (1 / chip.bandwidth - 1 / reference.bandwidth)
    return share * least / bound * reference.tflops / chip.tflops


def _training(args: argparse.Namespace, setup: Setup, kind: str) -> dict:
    """Days, loader cores and reads of a recipe on some cards of a kind."""
    config, chip = setup.config, CHIPS[kind]
    repeats = config.data.repeats
    loader = args.loader_speed or LOADER_SPEED.get(repeats)
    if loader is None:
        raise ConfigError(
            f"data.repeats={repeats} has not been measured (1 and 4 have): give --loader_speed, "
            "from python -m surgrec_jax.bench loader"
        )
    share = args.mfu or share_of_peak(config.objective, config.model.preset, chip)
    each = args.clips_per_second or share * 1e12 * chip.tflops / setup.objective.flops()
    every, record = each * args.cards, RecordSpec()
    per_clip = args.gb_per_hour * record.frames / record.fps / 3600 / repeats  # GB that are read
    reads = every * per_clip
    given = args.clips_per_second or args.mfu
    return {
        "clips_per_second_of_a_card": each,
        "days": config.steps * config.batch_size / every / 86400,
        "loader_cores": every / loader,
        "reads_gigabytes_per_second": reads,
        "data_lie_on": _place(args.hours * args.gb_per_hour, reads),
        "rests_on": "your figure of a card"
        if given
        else f"ASSUMED: {share:.0%} of {chip.tflops:g} TFLOP/s; no card has been measured",
    }


def _place(gigabytes: float, reads: float) -> str:
    """Where records should lie for so many random reads, in GB/s."""
    if reads > LOCAL_FROM:
        return f"local NVMe of every host, {gigabytes / 1000:.3g} TB each"
    return "local NVMe, or a parallel file system; a bucket's mount for trials only"


def _checkpoint_bytes(setup: Setup) -> float:
    """Parameters and two moments in float32, and the EMA target where there is one."""
    target = jax.tree.leaves(setup.abstract.get("target_params", {}))
    return 4 * (3 * setup.parameters + sum(leaf.size for leaf in target))

"""Import of another project's file as an ordinary checkpoint of this one."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.convert import families, hub, verify, vjepa, vjepa_probe
from surgrec_jax.convert.files import SourceFile, open_file
from surgrec_jax.convert.import_plan import ImportOptions, Plan, nest
from surgrec_jax.convert.split_tensors import SplitTensors
from surgrec_jax.convert.strict import ConvertError, to_params
from surgrec_jax.frozen.architecture import config_from_meta, meta_of
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.hosts import workdir_lock
from surgrec_jax.models import resize
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import OBJECTIVES
from surgrec_jax.safety import untrusted


def import_file(
    path: str | Path,
    out: str | Path,
    options: ImportOptions | None = None,
    *,
    encoder_from: str | Path | None = None,
    expect: str | Path | None = None,
) -> dict[str, Any]:
    """Imports a file and saves it as a checkpoint, step 0 of the workdir `out`.

    Args:
        path: the file or folder, or a name of the hub (see `hub.fetch`).
        encoder_from: for a file with probes only, the workdir of the encoder they stand on.
        expect: an .npz of clips and the tokens the original model gives for them, which the
            import must reproduce (see `verify.check`); "none" leaves out the comparison with the
            record that lies beside files this project exported.

    Returns:
        The checkpoint's meta.

    Raises:
        ConvertError: the file cannot be read, or an option or `expect` contradicts it.
        WorkdirInUseError: a run is under way in `out`.
    """
    out, options = Path(out), options or ImportOptions()
    _check_unused(out)
    fetched = None
    if str(path).startswith(hub.SCHEME):
        path, fetched = hub.fetch(str(path))
    file = open_file(path)
    with untrusted.interpreting(f"the config beside {path}", error_type=ConvertError):
        plan, below = _plan(file, options, encoder_from)
        check_used(plan, options)
        wanted = plan.wanted()
    source = SplitTensors(file, plan.split) if plan.split else file
    flat, ignored = to_params(source, plan.rules, plan.ignored, wanted)
    trees = nest(on_host(flat))
    verified = {}
    recorded = verify.beside(file.weights)
    if below is not None:
        trees["params"]["encoder"] = below
    elif expect is None and recorded.exists():
        verified[recorded.name] = verify.check(recorded, plan.encoder, _evaluated(trees))
    encoder, resized = _resize(plan, trees, options)
    if _uses_target(plan):
        _add_target(trees, options)
    if expect not in (None, "none"):
        verified[Path(expect).name] = verify.check(expect, encoder, _evaluated(trees))
    about = {"resized": resized, "largest_difference": verified}
    about |= {"hub": fetched} if fetched else {}
    meta = _meta(plan, encoder, options, file, ignored, about)
    _save(out, trees, meta)
    return meta


def _plan(
    file: SourceFile, options: ImportOptions, encoder_from: str | Path | None
) -> tuple[Plan, dict[str, Any] | None]:
    """The plan of an import, and for a file of probes the parameters of their encoder.

    Raises:
        ConvertError: an unknown file, or probes without --encoder_from, or an encoder with it.
    """
    if vjepa_probe.recognise(file.shapes()):
        if encoder_from is None:
            raise ConvertError(
                f"{file.name} holds attentive probes only; give --encoder_from=WORKDIR"
            )
        beneath = load_encoder(encoder_from)
        plan = vjepa_probe.read_probe(file, options, beneath.config, beneath.fps)
        return plan, beneath.params
    if encoder_from is not None:
        raise ConvertError(f"{file.name} has an encoder of its own; leave out --encoder_from")
    plan = families.FAMILIES[families.choose(file, options.family)](file, options)
    config_from_meta(meta_of(plan.encoder, fps=plan.fps) | {"name": file.name})
    return plan, None


def _resize(
    plan: Plan, trees: dict[str, Any], options: ImportOptions
) -> tuple[ViTConfig, dict[str, Any] | None]:
    """The encoder for the clip of --resize_to, and the record of how; resizes a learned table."""
    native, family = plan.encoder, plan.family
    if options.resize_to is None:
        return native, None
    larger, method = resize.resized(native, options.resize_to, options.resize_method, family)
    for tree in trees.values():
        tree["encoder"] = resize.resize_params(tree["encoder"], native, larger, family)
    return larger, {"from": [native.num_frames, *native.image_size], "method": method}


def _save(out: Path, trees: dict[str, Any], meta: dict[str, Any]) -> None:
    """Saves the parameters as step 0 of a workdir."""
    out.mkdir(parents=True, exist_ok=True)
    with workdir_lock.held(out):  # Checkpoints removes the files of a save under way
        _check_unused(out)
        saved = checkpoint.Checkpoints(out / "checkpoints", keep=1, keep_best=0)
        saved.check_space(trees, saves=1)
        saved.save(0, {"step": jnp.zeros((), jnp.int32), **trees}, meta)
        saved.close()


def _check_unused(out: Path) -> None:
    if checkpoint.steps_in(out / "checkpoints"):  # a stopped import leaves none
        raise ConvertError(f"{out} has checkpoints already; give another --out")
    if (out / "config.json").exists():  # of a run that saved nothing yet
        raise ConvertError(f"{out} is the workdir of a training run; give another --out")


def check_used(plan: Plan, options: ImportOptions) -> None:
    """Refuses options that would do nothing to this file.

    Raises:
        ConvertError: the options, each with the files that it is for.
    """
    unused = _unused_options(plan, options)
    if plan.family == "vjepa_probe":  # its encoder is that of another workdir
        for name in ("num_frames", "image_size", "heads", "norm_eps"):
            unused[name] = (getattr(options, name) is not None, "a file with an encoder")
        unused["family"] = (options.family != "auto", "a file with an encoder")
    wrong = [f"--{name} is for {use}" for name, (idle, use) in unused.items() if idle]
    if wrong:
        raise ConvertError(f"{'; '.join(wrong)}: leave it out here")


def _unused_options(plan: Plan, options: ImportOptions) -> dict[str, tuple[Any, str]]:
    """Whether each option would do nothing to this file, and the files that it is for."""
    attentive = plan.head is not None and plan.head.kind == "attentive"
    with_heads = plan.decoder or plan.predictor or attentive
    hf = plan.family.startswith("hf_")  # config.json states their heads
    resizes = options.resize_to and resize.can_extend(plan.encoder)
    return {
        "encoder": (options.encoder == "online" and not _of_two(plan), "a file with two"),
        "mask_tokens": (options.mask_tokens and not plan.predictor, "a predictor"),
        "head_heads": (
            options.head_heads and (hf or not with_heads),
            "a decoder, predictor or probe whose file does not say",
        ),
        "frames": (options.frames != "apart" and "dino" not in plan.family, "an image encoder"),
        "resize_method": (
            options.resize_method != "interpolate" and not resizes,
            "--resize_to of positions that can go on",
        ),
        "heads": (options.heads and hf, "files without a config.json"),
        "probe": (options.probe is not None and plan.family != "vjepa_probe", "a file of probes"),
    }


def _of_two(plan: Plan) -> bool:
    """Whether files of this family may have an online encoder and an EMA target."""
    return plan.family in vjepa.POSITION


def _uses_target(plan: Plan) -> bool:
    """Whether the objective that can go on from this import has an EMA target."""
    return plan.objective in OBJECTIVES and OBJECTIVES[plan.objective].uses_target


def _evaluated(trees: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the encoder that `load_encoder` takes."""
    return trees["target_params" if "target_params" in trees else "params"]["encoder"]


def on_host(flat: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The arrays as JAX arrays in host memory, one after another; empties `flat`.

    Orbax copies NumPy arrays before it writes them, all at once, and JAX arrays not at all.
    """
    host = jax.local_devices(backend="cpu")[0]
    # The loop waits for each copy: one under way holds the array that it is made from.
    return {path: jax.device_put(flat.pop(path), host).block_until_ready() for path in list(flat)}


def _add_target(trees: dict[str, Any], options: ImportOptions) -> None:
    """Adds the EMA target, which `load_encoder` and training take."""
    if "target_params" not in trees or options.encoder == "online":
        names = ("encoder", "levels")  # what JEPA's target follows
        trees["target_params"] = {n: p for n, p in trees["params"].items() if n in names}


def _meta(
    plan: Plan,
    encoder: ViTConfig,
    options: ImportOptions,
    file: SourceFile,
    ignored: dict[str, str],
    about: dict[str, Any],
) -> dict[str, Any]:
    """The checkpoint's meta; `about` goes into its section on the import."""
    parts = {name: part for name in ("decoder", "predictor") if (part := getattr(plan, name))}
    if plan.levels:
        parts["levels"] = {"count": plan.predictor["levels"]}
    if plan.head:
        parts["head"] = dataclasses.asdict(plan.head)
    named = Path(about["hub"]["repository"] if "hub" in about else file.name)
    return {
        "name": named.name if "hub" in about else named.stem,
        "objective": plan.objective,
        "uses_target": _uses_target(plan),
        "parts": parts,
        "import": {
            "file": Path(file.name).name,
            "family": plan.family,
            "encoder": options.encoder if _of_two(plan) else "only",
            "dtypes": sorted(file.dtypes()),
            "prefixes": plan.prefixes,
            "ignored": dict(Counter(ignored.values())),
            "notes": plan.notes,
            "mask_tokens": list(options.mask_tokens) if options.mask_tokens else None,
            "gelu": "erf",
            **about,
        },
        **meta_of(encoder, fps=plan.fps),
    }

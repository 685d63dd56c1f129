"""From a file of another project to an ordinary checkpoint of this one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax import checkpoint, lock, untrusted
from surgrec_jax.convert import families, verify, vjepa, vjepa_probe
from surgrec_jax.convert.files import open_file
from surgrec_jax.convert.halves import Halves
from surgrec_jax.convert.plan import ImportOptions, Plan, nest
from surgrec_jax.convert.resize import can_extend, resize
from surgrec_jax.convert.strict import ConvertError, to_params
from surgrec_jax.encoder import config_from_meta, load_encoder, meta_of
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import OBJECTIVES


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
        encoder_from: for a file with probes only, the workdir of the encoder they stand on.
        expect: an .npz of clips and the tokens the original model gives for them, which the
            import must reproduce (see `verify.check`); "none" to leave out the check against
            the record that lies beside files this project exported.

    Returns:
        The checkpoint's meta.

    Raises:
        ConvertError: a file, an option or a number that is not as it should be.
        WorkdirInUseError: a run is under way in `out`.
    """
    out, options = Path(out), options or ImportOptions()
    _check_unused(out)
    file = open_file(path)
    below: dict[str, Any] = {}
    if vjepa_probe.recognise(file.shapes()):
        if encoder_from is None:
            raise ConvertError(f"{path} holds attentive probes only; give --encoder_from=WORKDIR")
        beneath = load_encoder(encoder_from)
        plan = vjepa_probe.read_probe(file, options, beneath.config, beneath.fps)
        below = beneath.params
    elif encoder_from is not None:
        raise ConvertError(f"{path} has an encoder of its own; leave out --encoder_from")
    else:
        with untrusted.interpreting(f"the config beside {path}", error_type=ConvertError):
            plan = families.FAMILIES[families.choose(file, options.family)](file, options)
        config_from_meta(meta_of(plan.encoder, fps=plan.fps) | {"name": str(path)})
    check_used(plan, options)
    source = Halves(file, plan.halves) if plan.halves else file
    with untrusted.interpreting(f"the config beside {path}", error_type=ConvertError):
        wanted = plan.wanted()
    flat, ignored = to_params(source, plan.rules, plan.ignored, wanted)
    trees = nest(on_host(flat))
    if below:
        trees["params"]["encoder"] = below
    verified = {}
    recorded = verify.beside(file.weights)
    if expect is None and recorded.exists() and not below:
        verified[recorded.name] = verify.check(recorded, plan.encoder, _evaluated(trees))
    encoder, method = resize(plan, trees, options)
    if _uses_target(plan):
        _add_target(trees, options)
    if expect not in (None, "none"):
        verified[Path(expect).name] = verify.check(expect, encoder, _evaluated(trees))
    meta = _meta(plan, encoder, options, file, ignored)
    if options.resize_to:
        was = [plan.encoder.num_frames, *plan.encoder.image_size]
        meta["import"]["resized"] = {"from": was, "method": method}
    meta["import"]["largest_difference"] = verified
    out.mkdir(parents=True, exist_ok=True)
    with lock.held(out):  # Checkpoints removes what a save under way has written
        _check_unused(out)
        saved = checkpoint.Checkpoints(out / "checkpoints", keep=1, keep_best=0)
        saved.check_space(trees, saves=1)
        saved.save(0, {"step": jnp.zeros((), jnp.int32), **trees}, meta)
        saved.close()
    return meta


def _check_unused(out: Path) -> None:
    if checkpoint.steps_in(out / "checkpoints"):  # an import that was stopped leaves none
        raise ConvertError(f"{out} has checkpoints already; give another --out")


def check_used(plan: Plan, options: ImportOptions) -> None:
    """Refuses options that would do nothing to this file.

    Raises:
        ConvertError: the options, each with what it is for.
    """
    attentive = plan.head is not None and plan.head.kind == "attentive"
    ours = plan.family.startswith(("vjepa", "videomae"))  # config.json states heads elsewhere
    idle = {
        "encoder": (options.encoder == "online" and not _of_two(plan), "a file with two"),
        "mask_tokens": (options.mask_tokens and not plan.predictor, "a predictor"),
        "head_heads": (
            options.head_heads and not (ours and (plan.decoder or plan.predictor or attentive)),
            "a decoder, predictor or probe whose file does not say",
        ),
        "frames": (options.frames != "apart" and "dino" not in plan.family, "an image encoder"),
        "resize_method": (
            options.resize_method != "interpolate"
            and not (options.resize_to and can_extend(plan.encoder)),
            "--resize_to of positions that can go on",
        ),
        "heads": (options.heads and plan.family.startswith("hf_"), "files without a config.json"),
        "probe": (options.probe is not None and plan.family != "vjepa_probe", "a file of probes"),
    }
    if plan.family == "vjepa_probe":  # its encoder is that of another workdir
        for name in ("num_frames", "image_size", "heads", "norm_eps"):
            idle[name] = (getattr(options, name) is not None, "a file with an encoder")
        idle["family"] = (options.family != "auto", "a file with an encoder")
    wrong = [f"--{name} is for {what}" for name, (unused, what) in idle.items() if unused]
    if wrong:
        raise ConvertError(f"{'; '.join(wrong)}: leave it out here")


def _of_two(plan: Plan) -> bool:
    """Whether files of this family may have an online encoder and an EMA target."""
    return plan.family in vjepa.POSITION


def _uses_target(plan: Plan) -> bool:
    """Whether the objective that can go on from this import has an EMA target."""
    return plan.objective in OBJECTIVES and OBJECTIVES[plan.objective].uses_target


def _evaluated(trees: dict[str, Any]) -> dict[str, Any]:
    """The encoder that `load_encoder` takes."""
    return trees["target_params" if "target_params" in trees else "params"]["encoder"]


def on_host(flat: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The same as JAX arrays in host memory, one after another; `flat` is empty afterwards.

    Orbax copies NumPy arrays before it writes them, all at once, and JAX arrays not at all.
    """
    host = jax.local_devices(backend="cpu")[0]
    # Waited for one by one: copies under way hold the array they are made from.
    return {path: jax.device_put(flat.pop(path), host).block_until_ready() for path in list(flat)}


def _add_target(trees: dict[str, Any], options: ImportOptions) -> None:
    """Makes the EMA target that `load_encoder` takes, and training continues from."""
    if "target_params" not in trees or options.encoder == "online":
        trees["target_params"] = {"encoder": trees["params"]["encoder"]}


def _meta(
    plan: Plan, encoder: ViTConfig, options: ImportOptions, file: Any, ignored: dict[str, str]
) -> dict[str, Any]:
    parts = {name: part for name in ("decoder", "predictor") if (part := getattr(plan, name))}
    if plan.head:
        parts["head"] = dataclasses.asdict(plan.head)
    return {
        "name": Path(file.name).stem,
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
            "resized": None,
            "mask_tokens": list(options.mask_tokens) if options.mask_tokens else None,
            "gelu": "erf",
        },
        **meta_of(encoder, fps=plan.fps),
    }

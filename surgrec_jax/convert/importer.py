"""From a file of another project to an ordinary checkpoint of this one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax import checkpoint, untrusted
from surgrec_jax.convert import families, verify, vjepa
from surgrec_jax.convert.files import open_file
from surgrec_jax.convert.plan import ImportOptions, Plan, nest
from surgrec_jax.convert.strict import ConvertError, to_params
from surgrec_jax.encoder import config_from_meta, load_encoder, meta_of
from surgrec_jax.models.presets import ViTConfig


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
    """
    out, options = Path(out), options or ImportOptions()
    if (out / "checkpoints").exists():
        raise ConvertError(f"{out} has checkpoints already; give another --out")
    file = open_file(path)
    below: dict[str, Any] = {}
    if families.recognise(file.shapes()) == "vjepa_probe":
        if encoder_from is None:
            raise ConvertError(f"{path} holds attentive probes only; give --encoder_from=WORKDIR")
        location = checkpoint.find(encoder_from)
        meta = checkpoint.read_meta(location)
        plan = vjepa.read_probe(file, options, config_from_meta(meta))
        below, wanted = load_encoder(location.path).params, plan.wanted()
    else:
        with untrusted.interpreting(f"the config beside {path}", error_type=ConvertError):
            plan = families.FAMILIES[families.choose(file, options.family)](file, options)
            wanted = plan.wanted()
        config_from_meta(meta_of(plan.encoder, fps=plan.fps) | {"name": str(path)})
    flat, ignored = to_params(file, plan.rules, plan.ignored, wanted)
    trees = nest(on_host(flat))
    if below:
        trees["params"]["encoder"] = below
    verified = {}
    recorded = verify.beside(file.weights)
    if expect is None and recorded.exists() and not below:
        verified[recorded.name] = verify.check(recorded, plan.encoder, _evaluated(trees))
    encoder = resize(plan, trees, options)
    if plan.objective == "jepa":
        _add_target(trees, options)
    if expect not in (None, "none"):
        verified[Path(expect).name] = verify.check(expect, encoder, _evaluated(trees))
    meta = _meta(plan, encoder, options, file, ignored)
    meta["import"]["largest_difference"] = verified
    saved = checkpoint.Checkpoints(out / "checkpoints", keep=1, keep_best=0)
    saved.check_space(trees)
    saved.save(0, {"step": jnp.zeros((), jnp.int32), **trees}, meta)
    saved.close()
    return meta


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


def resize(plan: Plan, trees: dict[str, Any], options: ImportOptions) -> ViTConfig:
    """The encoder's architecture at the size asked for; a learned position table is resized.

    Fixed tables and rotary coordinates are functions of the grid: "interpolate" keeps their range
    by naming the original grid in `position_grid`, "extend" lets them go on.
    """
    native = plan.encoder
    if options.resize_to is None:
        return native
    frames, *size = options.resize_to
    changes: dict[str, Any] = {"num_frames": frames, "image_size": tuple(size)}
    resized = dataclasses.replace(native, **changes)
    if native.position == "learned_2d":
        for tree in trees.values():
            tree["encoder"]["position"] = _resize_table(
                tree["encoder"]["position"], native.grid[1:], resized.grid[1:]
            )
    elif options.resize_method == "interpolate" and native.position != "rope_2d":
        changes["position_grid"] = native.position_grid or native.grid
        resized = dataclasses.replace(native, **changes)
    return resized


def _resize_table(table: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """[1 + h w, D], bicubic with antialiasing, the CLS row kept."""
    patches = jax.image.resize(
        table[1:].reshape(*old, -1), (*new, table.shape[-1]), method="cubic", antialias=True
    )
    return np.concatenate([table[:1], np.asarray(patches).reshape(-1, table.shape[-1])])


def _add_target(trees: dict[str, Any], options: ImportOptions) -> None:
    """JEPA checkpoints have an EMA target; `load_encoder` takes it, training continues from it."""
    if "target_params" not in trees or options.encoder == "online":
        trees["target_params"] = {"encoder": trees["params"]["encoder"]}


def _meta(
    plan: Plan, encoder: ViTConfig, options: ImportOptions, file: Any, ignored: dict[str, str]
) -> dict[str, Any]:
    method = options.resize_method
    if encoder.position == "learned_2d":
        method = "bicubic, antialiased"
    elif encoder.position == "rope_2d":
        method = "none: coordinates are relative to the frame"
    parts = {name: part for name in ("decoder", "predictor") if (part := getattr(plan, name))}
    if plan.head:
        parts["head"] = dataclasses.asdict(plan.head)
    resized = {"from": [plan.encoder.num_frames, *plan.encoder.image_size], "method": method}
    return {
        "name": Path(file.name).stem,
        "objective": plan.objective,
        "uses_target": plan.objective == "jepa",
        "parts": parts,
        "import": {
            "file": Path(file.name).name,
            "family": plan.family,
            "encoder": options.encoder if plan.objective == "jepa" else "only",
            "dtypes": sorted(file.dtypes()),
            "prefixes": plan.prefixes,
            "ignored": dict(Counter(ignored.values())),
            "notes": plan.notes,
            "resized": resized if options.resize_to else None,
            "mask_tokens": list(options.mask_tokens) if options.mask_tokens else None,
            "gelu": "erf",
        },
        **meta_of(encoder, fps=plan.fps),
    }

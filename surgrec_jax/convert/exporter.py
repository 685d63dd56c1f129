"""From a checkpoint of this project to the files of others: the import tables backwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.convert import card, hf_config, huggingface, verify, videomae, vjepa
from surgrec_jax.convert.files import WEIGHTS, write_safetensors, write_torch
from surgrec_jax.convert.plan import flatten, nest, part_shapes
from surgrec_jax.convert.strict import ConvertError, to_source
from surgrec_jax.convert.tables import linear
from surgrec_jax.encoder import config_from_meta
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.position import sincos_3d
from surgrec_jax.models.presets import MAE_DECODERS, ViTConfig

FORMATS = ("transformers", "videomae", "vjepa2", "vjepa1")
DEFAULT_FILE = {"videomae": "checkpoint.pth", "vjepa2": "latest.pt", "vjepa1": "latest.pt"}


class Model:
    """A checkpoint's parameters and everything that describes them.

    Args:
        path: a workdir or step folder.
        whole: whether the decoder, predictor, head and online encoder are wanted too.

    Raises:
        CheckpointError: it cannot be read.
    """

    def __init__(self, path: str | Path, *, step: int | None = None, whole: bool = True):
        self.location = checkpoint.find(path, step)
        self.meta = checkpoint.read_meta(self.location)
        self.encoder = config_from_meta(self.meta)
        parts = parts_of(self.meta)
        self.decoder, self.predictor = parts.get("decoder"), parts.get("predictor")
        self.head = HeadConfig(**parts["head"]) if "head" in parts else None
        wanted = ["params/encoder"]
        if self.meta["uses_target"]:
            wanted.append("target_params/encoder")
        wanted += [f"params/{name}" for name in parts if whole]
        if self.meta["uses_target"] and not whole:
            wanted.remove("params/encoder")
        self.params = self._restore(wanted)

    def _restore(self, wanted: list[str]) -> dict[str, np.ndarray]:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        flat = {}
        for where in wanted:
            shapes = part_shapes(
                where.split("/")[1], self.encoder, self.decoder, self.predictor, self.head
            )
            flat |= {
                f"{where}/{path}": jax.ShapeDtypeStruct(shape, np.float32, sharding=device)
                for path, shape in shapes.items()
            }
        return jax.tree.map(
            np.asarray, flatten(checkpoint.restore_state(self.location, nest(flat)))
        )

    def only(self, which: str) -> dict[str, np.ndarray]:
        """Paths "params/...", with the encoder asked for ("target" or "online") as the encoder."""
        tree = "target_params" if which == "target" and self.meta["uses_target"] else "params"
        encoder = {k: v for k, v in self.params.items() if k.startswith(f"{tree}/encoder/")}
        others = {k: v for k, v in self.params.items() if k.split("/")[1] != "encoder"}
        return {k.replace(tree, "params", 1): v for k, v in encoder.items()} | others


def parts_of(meta: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Sizes of what a checkpoint has besides the encoder: from its import, or from its config."""
    if "parts" in meta:
        return meta["parts"]
    config = meta["config"]
    if config["objective"] == "mae":
        usual = zip(
            ("depth", "width", "heads"), MAE_DECODERS[config["model"]["preset"]], strict=True
        )
        given = config["mae"]
        return {"decoder": {k: given.get(f"decoder_{k}") or v for k, v in usual}}
    if config["objective"] == "jepa":
        given = config["jepa"]
        sizes = {k: given[f"predictor_{k}"] for k in ("depth", "width", "heads")}
        return {"predictor": sizes | {"num_masks": len(given["masks"])}}
    return {}


def export_checkpoint(
    path: str | Path,
    out: str | Path,
    format: str,
    *,
    step: int | None = None,
    encoder: str = "target",
    whole: bool = False,
) -> list[Path]:
    """Writes a checkpoint in another project's format.

    Args:
        out: folder, made if missing. A record of what the encoder gives goes with the files; it is
            compared when they are imported.
        format: one of FORMATS.
        encoder: "target" (the EMA) or "online", where the format holds one.
        whole: whether the decoder, predictor or head goes with it.

    Returns:
        The files written.

    Raises:
        ConvertError: an unknown format, or a model that it cannot hold.
    """
    if format not in FORMATS:
        raise ConvertError(f"--format={format!r}: choose from {FORMATS}")
    if encoder not in ("target", "online"):
        raise ConvertError(f"--encoder={encoder!r}: choose from ('target', 'online')")
    out = Path(out)
    model = Model(path, step=step, whole=whole or encoder == "online")
    if not whole:
        model.decoder = model.predictor = model.head = None
        model.params = {k: v for k, v in model.params.items() if k.split("/")[1] == "encoder"}
    if format == "transformers":
        tensors, files = _transformers(model, encoder)
    elif format == "videomae":
        tensors, files = _videomae(model), {}
    else:
        tensors, files = _vjepa(model, format, encoder), {}
    out.mkdir(parents=True, exist_ok=True)
    weights = out / (WEIGHTS if format == "transformers" else DEFAULT_FILE[format])
    if format == "transformers":
        write_safetensors(weights, tensors)
    else:
        write_torch(weights, nest(tensors))
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    (out / "README.md").write_text(card.write(model, format, encoder))
    expected = verify.beside(weights)
    kept = "target" if format.startswith("vjepa") and _holds_both(model) else encoder
    verify.record(expected, model.encoder, nest(model.only(kept))["params"]["encoder"])
    return [weights, *(out / name for name in files), out / "README.md", expected]


def _imported(model: Model, *families: str) -> dict[str, str]:
    """Key prefixes of the file a checkpoint was imported from, if it was of these families."""
    origin = model.meta.get("import") or {}
    return origin.get("prefixes", {}) if origin.get("family") in families else {}


def _transformers(model: Model, which: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if model.encoder.position == "sincos_1d":
        config = hf_config.videomae_config(model.encoder, model.decoder)
        style = _imported(model, "hf_videomae").get("style", "v4")
        prefix = "videomae." if model.decoder else ""
        depth = model.decoder["depth"] if model.decoder else 0
        rules = huggingface.videomae_rules(prefix, model.encoder, style, depth)
        pre = hf_config.preprocessor_config(model.encoder, "videomae")
        files = {"config.json": config, "preprocessor_config.json": pre}
    else:
        head = model.head
        config = hf_config.vjepa2_config(model.encoder, model.predictor, head)
        prefix = "vjepa2." if head else ""
        rules = huggingface.vjepa2_rules(prefix, model.encoder, model.predictor, head)
        pre = hf_config.preprocessor_config(model.encoder, "vjepa2")
        files = {"config.json": config, "video_preprocessor_config.json": pre}
    return to_source(model.only(which), rules), files


def _videomae(model: Model) -> dict[str, np.ndarray]:
    _expect(model.encoder, "videomae", {"position": "sincos_1d", "qkv_bias": "qv"})
    names = _imported(model, "videomae")
    prefix = names.get("encoder", "model/encoder.")
    top = names.get("top", "model/")
    usual = "fc_norm" if model.encoder.final_norm == "pooled" else "norm"
    rules = videomae.encoder_rules(prefix, model.encoder, prefix + names.get("final", usual))
    if model.decoder:
        rules += videomae.decoder_rules(top, model.decoder["depth"])
    if model.head:
        rules += linear(f"{top}head", "params/head/linear")
    return to_source(model.params, rules)


def _vjepa(model: Model, version: str, which: str) -> dict[str, np.ndarray]:
    _expect(model.encoder, version, {"position": vjepa.POSITION[version], "qkv_bias": "qkv"})
    names = _imported(model, "vjepa1", "vjepa2")
    target = names.get("target", "target_encoder/module.backbone.")
    params, rules = model.params, []
    if _holds_both(model):
        online = names.get("online", "encoder/module.backbone.")
        rules += vjepa.encoder_rules(online, model.encoder, "params/encoder")
        rules += vjepa.encoder_rules(target, model.encoder, "target_params/encoder")
    else:
        params = model.only(which)
        rules += vjepa.encoder_rules(target, model.encoder, "params/encoder")
    if model.predictor:
        prefix = names.get("predictor", "predictor/module.backbone.")
        tokens = tuple(range(model.predictor["num_masks"]))
        rules += vjepa.predictor_rules(prefix, model.predictor["depth"], tokens)
    tensors = to_source(params, rules)
    return tensors | (_position_tables(model.encoder, tensors) if version == "vjepa1" else {})


def _holds_both(model: Model) -> bool:
    """Whether a V-JEPA file gets the online encoder besides the target."""
    names = _imported(model, "vjepa1", "vjepa2")
    return "params/encoder/norm/scale" in model.params and (not names or "online" in names)


def _position_tables(encoder: ViTConfig, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fixed tables that V-JEPA 1's files carry along."""
    tables = {}
    for key in tensors:
        if key.endswith("patch_embed.proj.bias"):
            table = sincos_3d(encoder.grid, encoder.width)[None]
            tables[key.replace("patch_embed.proj.bias", "pos_embed")] = table
        if key.endswith("predictor_embed.bias"):
            table = sincos_3d(encoder.grid, len(tensors[key]))[None]
            tables[key.replace("predictor_embed.bias", "predictor_pos_embed")] = table
    return tables


def _expect(encoder: ViTConfig, version: str, expected: dict[str, Any]) -> None:
    wrong = [
        f"{name}={getattr(encoder, name)!r} (it has {value!r})"
        for name, value in (expected | hf_config.PLAIN).items()
        if getattr(encoder, name) != value and name != "final_norm"
    ]
    if wrong:
        raise ConvertError(
            f"a {version} file cannot hold this encoder: {', '.join(wrong)}"
            f"{hf_config.remedy(encoder.position)}"
        )

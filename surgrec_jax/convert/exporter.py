"""From a checkpoint of this project to the files of others: the import tables backwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.convert import card, hf_write, huggingface, verify, videomae, vjepa
from surgrec_jax.convert.files import WEIGHTS, write_safetensors
from surgrec_jax.convert.plan import flatten, nest, part_shapes
from surgrec_jax.convert.strict import ConvertError, to_source
from surgrec_jax.convert.tables import linear
from surgrec_jax.convert.torch_file import write_torch
from surgrec_jax.encoder import config_from_meta
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.position import sincos_3d
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives.earlier import parts_of

FORMATS = ("transformers", "videomae", "vjepa2", "vjepa1")
DEFAULT_FILE = {"videomae": "checkpoint.pth", "vjepa2": "latest.pt", "vjepa1": "latest.pt"}


class Model:
    """A checkpoint's parameters and everything that describes them.

    Args:
        path: a workdir or step folder.
        whole: whether the decoder, predictor or head, and both encoders where there are two, are
            wanted too; only the encoder `which` otherwise.
        which: "target" (the EMA, where there is one) or "online".

    Attributes:
        decoder, predictor, head: what is taken besides the encoder.
        labels: names of a head's classes, where they are known.
        multi_label: whether they do not exclude each other, None where that is not known.

    Raises:
        CheckpointError: it cannot be read.
        ConvertError: it has parts that no format holds.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        step: int | None = None,
        whole: bool = True,
        which: str = "target",
    ):
        self.location = checkpoint.find(path, step)
        self.meta = checkpoint.read_meta(self.location)
        self.encoder = config_from_meta(self.meta)
        parts = parts_of(self.meta) if whole else {}
        others = sorted(parts.keys() - {"decoder", "predictor", "head"})
        if others:
            raise ConvertError(
                f"no format has a place for the {', '.join(others)} of {self.location.path}; leave "
                "out --whole for the encoder alone"
            )
        self.decoder, self.predictor = parts.get("decoder"), parts.get("predictor")
        self.head = HeadConfig(**parts["head"]) if "head" in parts else None
        classifier = self.meta.get("classifier", {})
        self.labels = tuple(classifier.get("classes", ()))
        self.multi_label = classifier.get("multi_label")
        trees = ["params", "target_params"] if self.meta["uses_target"] else ["params"]
        names = ("encoder", *parts)
        self.params = self._restore(
            f"{tree}/{name}"
            for tree in (trees if whole else [self.tree(which)])
            for name in checkpoint.parts(self.location, tree)
            if name in names
        )

    def tree(self, which: str) -> str:
        """Where the encoder asked for is."""
        return "target_params" if which == "target" and self.meta["uses_target"] else "params"

    def _restore(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
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
        """Paths "params/...": the encoder asked for, what was averaged with it, and the rest."""
        tree = self.tree(which)
        taken = {
            "params" + path.removeprefix(tree): value
            for path, value in self.params.items()
            if path.startswith(f"{tree}/")
        }
        names = {path.split("/")[1] for path in taken}
        return taken | {
            path: value
            for path, value in self.params.items()
            if path.startswith("params/") and path.split("/")[1] not in names
        }


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
    model = Model(path, step=step, whole=whole, which=encoder)
    vjepa_file = format.startswith("vjepa")
    if encoder == "online" and not model.meta["uses_target"]:
        raise ConvertError("--encoder=online: the checkpoint has one encoder; leave it out")
    if encoder == "online" and vjepa_file and _holds_both(model):
        raise ConvertError("--encoder=online: with --whole both encoders are written; leave it out")
    if model.head and vjepa_file:
        raise ConvertError(
            f"a {format} file has no place for a head; leave out --whole for the encoder alone"
        )
    if format == "transformers":
        tensors, files = _transformers(model, encoder)
    elif format == "videomae":
        tensors, files = _videomae(model, encoder), {}
    else:
        tensors, files = _vjepa(model, format, encoder), {}
    out.mkdir(parents=True, exist_ok=True)
    weights = out / (WEIGHTS if format == "transformers" else DEFAULT_FILE[format])
    if format == "transformers":
        write_safetensors(weights, tensors)
    else:
        # V-JEPA's loaders ask a training file for its epoch.
        epoch = {"epoch": 0} if vjepa_file and any("/" in key for key in tensors) else {}
        write_torch(weights, nest(tensors) | epoch)
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    (out / "README.md").write_text(card.write(model, format, encoder))
    expected = verify.beside(weights)
    kept = "target" if vjepa_file and _holds_both(model) else encoder
    verify.record(expected, model.encoder, nest(model.only(kept))["params"]["encoder"])
    return [weights, *(out / name for name in files), out / "README.md", expected]


def _imported(model: Model, *families: str) -> dict[str, str]:
    """Key prefixes of the file a checkpoint was imported from, if it was of these families."""
    origin = model.meta.get("import") or {}
    return origin.get("prefixes", {}) if origin.get("family") in families else {}


def _transformers(model: Model, which: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    encoder, head, classes = model.encoder, model.head, (model.labels, model.multi_label)
    if encoder.position == "sincos_1d":
        config = hf_write.videomae_config(encoder, model.decoder, head, *classes)
        style = _imported(model, "hf_videomae").get("style", "v4")
        prefix = "videomae." if model.decoder or head else ""
        depth = model.decoder["depth"] if model.decoder else 0
        final = "fc_norm" if head else "layernorm"
        rules = huggingface.videomae_rules(prefix, encoder, style, depth, final)
        rules += linear("classifier", "params/head/linear") if head else []
        pre = hf_write.preprocessor_config(encoder, "videomae")
        files = {"config.json": config, "preprocessor_config.json": pre}
    else:
        config = hf_write.vjepa2_config(encoder, model.predictor, head, *classes)
        prefix = "vjepa2." if head else ""
        rules = huggingface.vjepa2_rules(prefix, encoder, model.predictor, head)
        pre = hf_write.preprocessor_config(encoder, "vjepa2")
        files = {"config.json": config, "video_preprocessor_config.json": pre}
    return to_source(model.only(which), rules), files


def _videomae(model: Model, which: str) -> dict[str, np.ndarray]:
    encoder, decoder, head = model.encoder, model.decoder, model.head
    if head and head.kind != "linear":
        remedy = ": leave out --whole" if encoder.final_norm == "tokens" else ""
        raise ConvertError(f"VideoMAE's heads are linear, not {head.kind}{remedy}")
    # Its classifier norms the mean of the tokens.
    expected = {"position": "sincos_1d", "qkv_bias": "qv"}
    expected |= {"final_norm": "pooled"} if head else {}
    hf_write.check("a videomae file", encoder, expected, head is not None)
    _expect_heads(model, "encoder", encoder.heads, videomae.HEADS.get(encoder.width))
    names = _imported(model, "videomae")
    top = names.get("top", "model/")
    prefix = names.get("encoder", top if head else f"{top}encoder.")
    final = names.get("final", "fc_norm" if head else "norm")
    rules = videomae.encoder_rules(prefix, encoder, prefix + final)
    if decoder:
        _expect_heads(
            model, "decoder", decoder["heads"], videomae.DECODER_HEADS.get(decoder["width"])
        )
        rules += videomae.decoder_rules(top, decoder["depth"])
    if head:
        rules += linear(f"{top}head", "params/head/linear")
    return to_source(model.only(which), rules)


def _vjepa(model: Model, version: str, which: str) -> dict[str, np.ndarray]:
    expected = {"position": vjepa.POSITION[version], "qkv_bias": "qkv"}
    hf_write.check(f"a {version} file", model.encoder, expected)
    _expect_heads(
        model, "encoder", model.encoder.heads, vjepa.HEADS[version].get(model.encoder.width)
    )
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
        usual = vjepa.predictor_heads(version, model.encoder, model.predictor["width"])
        _expect_heads(model, "predictor", model.predictor["heads"], usual)
        prefix = names.get("predictor", "predictor/module.backbone.")
        tokens = tuple(range(model.predictor["num_masks"]))
        rules += vjepa.predictor_rules(prefix, model.predictor["depth"], tokens)
    tensors = to_source(params, rules)
    return tensors | (_position_tables(model.encoder, tensors) if version == "vjepa1" else {})


def _holds_both(model: Model) -> bool:
    """Whether a V-JEPA file gets the online encoder besides the target."""
    names = _imported(model, "vjepa1", "vjepa2")
    both = all(f"{tree}/encoder/norm/scale" in model.params for tree in ("params", "target_params"))
    return both and (not names or "online" in names)


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


def _expect_heads(model: Model, part: str, heads: int, usual: int | None) -> None:
    if usual in (None, heads):
        return
    remedies = ["use --format=transformers"] if model.encoder.position in card.PROCESSOR else []
    remedies += ["leave out --whole"] if part != "encoder" else []
    ending = f": {' or '.join(remedies)}" if remedies else ""
    raise ConvertError(
        f"files of this format do not say how many attention heads their {part} has, and are read "
        f"with {usual} where this one has {heads}{ending}"
    )

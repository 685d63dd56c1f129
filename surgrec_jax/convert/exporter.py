"""Export of a checkpoint to the files of other projects: the import tables backwards."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surgrec_jax.convert import card, hf_write, huggingface, verify, videomae, vjepa
from surgrec_jax.convert.files import WEIGHTS, write_safetensors
from surgrec_jax.convert.import_plan import nest
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.convert.strict import ConvertError, to_source
from surgrec_jax.convert.tables import linear
from surgrec_jax.convert.torch_file import write_torch
from surgrec_jax.models import levels
from surgrec_jax.models.position import sincos_3d
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives.older_runs import parts_of

Tensors = dict[str, np.ndarray]
Files = dict[str, Any]  # JSON files beside the weights, by name


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
        out: folder, made if missing. A record of the encoder's output goes with the files, and is
            compared when they are imported.
        format: one of FORMATS.
        encoder: "target" (the EMA) or "online", where the format holds one.
        whole: whether the decoder, predictor or head goes with it.

    Returns:
        The files written.

    Raises:
        ConvertError: an unknown format, or a model that it cannot hold.
    """
    out, model = Path(out), _open(path, format, step=step, encoder=encoder, whole=whole)
    weights_file, convert = FORMATS[format]
    weights = out / weights_file
    tensors, files = convert(model, encoder)
    out.mkdir(parents=True, exist_ok=True)
    if format == "transformers":
        write_safetensors(weights, tensors)
    else:
        # V-JEPA's loaders ask a training file for its epoch.
        epoch = {"epoch": 0} if _is_vjepa(format) and any("/" in key for key in tensors) else {}
        write_torch(weights, nest(tensors) | epoch)
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    (out / "README.md").write_text(card.write(model, format, encoder))
    expected = verify.beside(weights)
    evaluated = "target" if _is_vjepa(format) and _holds_both(model) else encoder
    verify.record(expected, model.encoder, nest(model.only(evaluated))["params"]["encoder"])
    return [weights, *(out / name for name in files), out / "README.md", expected]


def _open(path: str | Path, format: str, *, step: int | None, encoder: str, whole: bool) -> Model:
    """The checkpoint to export, once the options fit it and each other.

    Raises:
        ConvertError: an option that does not exist, or would do nothing to this checkpoint.
    """
    if format not in FORMATS:
        raise ConvertError(f"--format={format!r}: choose from {tuple(FORMATS)}")
    if encoder not in ("target", "online"):
        raise ConvertError(f"--encoder={encoder!r}: choose from ('target', 'online')")
    model = Model(path, step=step, whole=whole, which=encoder)
    if encoder == "online" and not model.meta["uses_target"]:
        raise ConvertError("--encoder=online: the checkpoint has one encoder; leave it out")
    if format == "vjepa21" and not model.levels:
        raise ConvertError(
            "a vjepa21 file holds the norms of four levels: export a run with jepa.levels=4, with "
            "--whole"
        )
    if model.levels and format != "vjepa21":
        raise ConvertError(
            f"a {format} file has no place for four levels: use --format=vjepa21, or leave out "
            "--whole for the encoder alone"
        )
    if width := (model.predictor or {}).get("target_width"):
        raise ConvertError(
            f"the predictor tells tokens of {width} numbers, a teacher's, where this encoder has "
            f"{model.encoder.width}, which no format holds; leave out --whole for the encoder alone"
        )
    if not _is_vjepa(format):
        return model
    if encoder == "online" and _holds_both(model):
        raise ConvertError("--encoder=online: with --whole both encoders are written; leave it out")
    if model.head:
        raise ConvertError(
            f"a {format} file has no place for a head; leave out --whole for the encoder alone"
        )
    return model


def _is_vjepa(format: str) -> bool:
    return format.startswith("vjepa")


def _imported(model: Model, *families: str) -> dict[str, str]:
    """Key prefixes of the file a checkpoint was imported from, if it was of these families."""
    origin = model.meta.get("import") or {}
    return origin.get("prefixes", {}) if origin.get("family") in families else {}


def _transformers(model: Model, which: str) -> tuple[Tensors, Files]:
    """The tensors and JSON files of a folder as transformers saves it."""
    encoder, head, classes = model.encoder, model.head, (model.labels, model.multi_label)
    if encoder.position == "sincos_1d":
        name, preprocessor = "videomae", "preprocessor_config.json"
        config = hf_write.videomae_config(encoder, model.decoder, head, *classes)
        style = _imported(model, "hf_videomae").get("style", "v4")
        prefix = "videomae." if model.decoder or head else ""
        depth = model.decoder["depth"] if model.decoder else 0
        rules = huggingface.videomae_rules(prefix, encoder, style, depth)
        rules += linear("classifier", "params/head/linear") if head else []
    else:
        name, preprocessor = "vjepa2", "video_preprocessor_config.json"
        config = hf_write.vjepa2_config(encoder, model.predictor, head, *classes)
        prefix = "vjepa2." if head else ""
        rules = huggingface.vjepa2_rules(prefix, encoder, model.predictor, head)
    files = {"config.json": config, preprocessor: hf_write.preprocessor_config(encoder, name)}
    return to_source(model.only(which), rules), files


def _videomae(model: Model, which: str) -> tuple[Tensors, Files]:
    """The tensors of VideoMAE's own file."""
    encoder, decoder, head = model.encoder, model.decoder, model.head
    if head and head.kind != "linear":
        remedy = ": leave out --whole" if encoder.final_norm == "tokens" else ""
        raise ConvertError(f"VideoMAE's heads are linear, not {head.kind}{remedy}")
    names = _imported(model, "videomae")
    expected = {"position": "sincos_1d", "qkv_bias": "qv"}
    # VideoMAE's classifier norms the mean of the tokens, as distilled encoders do without one.
    distilled = encoder.final_norm == "pooled" and "head" not in parts_of(model.meta)
    pooled = head is not None or distilled
    expected |= {"final_norm": "pooled"} if pooled else {}
    hf_write.check("a videomae file", encoder, expected, has_head=head is not None)
    _expect_heads(model, "encoder", encoder.heads, videomae.HEADS.get(encoder.width))
    top = names.get("top", "model/")
    prefix = names.get("encoder", top if pooled else f"{top}encoder.")
    final = names.get("final", "fc_norm" if pooled else "norm")
    rules = videomae.encoder_rules(prefix, encoder, prefix + final)
    if decoder:
        _expect_heads(
            model, "decoder", decoder["heads"], videomae.DECODER_HEADS.get(decoder["width"])
        )
        rules += videomae.decoder_rules(top, decoder["depth"])
    if head:
        rules += linear(f"{top}head", "params/head/linear")
    return to_source(model.only(which), rules), {}


def _vjepa(version: str, model: Model, which: str) -> tuple[Tensors, Files]:
    """The tensors of a file of V-JEPA's own code, of this version."""
    encoder, predictor = model.encoder, model.predictor
    expected = {"position": vjepa.POSITION[version], "qkv_bias": "qkv"}
    if version == "vjepa21":
        expected |= {vjepa.MODALITY: True, "position_grid": vjepa.ORIGIN_21}
    hf_write.check(f"a {version} file", encoder, expected)
    _expect_heads(model, "encoder", encoder.heads, vjepa.HEADS[version].get(encoder.width))
    names, final = _imported(model, *vjepa.POSITION), "norm"
    target = names.get("target", "target_encoder/module.backbone.")
    params, rules = model.params, []
    trees = {"params": target}
    if _holds_both(model):
        online = names.get("online", "encoder/module.backbone.")
        trees = {"params": online, "target_params": target}
    else:
        params = model.only(which)
    if model.levels:
        final = f"norms_block.{levels.COUNT - 1}"
        rules += [r for t, p in trees.items() for r in vjepa.level_rules(p, f"{t}/levels")]
    for tree, prefix in trees.items():
        rules += vjepa.encoder_rules(prefix, encoder, f"{tree}/encoder", final)
    if predictor:
        usual = vjepa.predictor_heads(version, encoder, predictor["width"])
        _expect_heads(model, "predictor", predictor["heads"], usual)
        prefix = names.get("predictor", "predictor/module.backbone.")
        tokens = tuple(range(predictor["num_masks"]))
        rules += vjepa.predictor_rules(prefix, predictor, tokens)
    tensors = to_source(params, rules)
    return tensors | (_position_tables(encoder, tensors) if version == "vjepa1" else {}), {}


# Each format: the name of its weights' file, and the function that makes its tensors and files.
FORMATS: dict[str, tuple[str, Callable[[Model, str], tuple[Tensors, Files]]]] = {
    "transformers": (WEIGHTS, _transformers),
    "videomae": ("checkpoint.pth", _videomae),
    "vjepa21": ("latest.pt", functools.partial(_vjepa, "vjepa21")),
    "vjepa2": ("latest.pt", functools.partial(_vjepa, "vjepa2")),
    "vjepa1": ("latest.pt", functools.partial(_vjepa, "vjepa1")),
}


def _holds_both(model: Model) -> bool:
    """Whether a V-JEPA file holds the online encoder besides the target."""
    names = _imported(model, *vjepa.POSITION)
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

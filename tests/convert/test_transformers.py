"""Parity with transformers' own modules, and with the golden files made from them."""

import copy

import numpy as np
import pytest

from convert import cases, models
from surgrec_jax import load_encoder
from surgrec_jax.convert import ImportOptions, export_checkpoint, import_file

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")
transformers = pytest.importorskip("transformers", reason="parity needs transformers")

TOLERANCE = 1e-5


def make(cls, config_cls, values, **changes):
    """A transformers model with our named weights, in evaluation mode."""
    values = {k: v for k, v in (values | changes).items() if k != "model_type"}
    model = cls(config_cls(**values)).eval()
    tensors = {k: cases.weight(k, tuple(v.shape)) for k, v in model.state_dict().items()}
    model.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    return model


def saved(model, folder):
    """The folder that save_pretrained writes."""
    model.save_pretrained(folder)
    return folder


def close(ours, theirs):
    """Largest difference, asserted."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    assert np.shape(ours) == np.shape(theirs)
    worst = float(np.abs(np.asarray(ours) - theirs).max())
    assert worst < TOLERANCE, worst
    return worst


def golden(name, file, **outputs):
    """Compares torch's outputs with the committed ones, or writes them."""
    cases.golden(name, file, {k: np.asarray(v, np.float32) for k, v in outputs.items()})


def tensors(folder):
    """What is in a folder's safetensors."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def renamed(folder):
    """Our named weights under the keys that were saved, so that golden files need no tensors."""
    import json

    config = json.loads((folder / "config.json").read_text())
    weights = cases.state({k: v.shape for k, v in tensors(folder).items()})
    return cases.save_folder(folder.parent / f"{folder.name}_named", weights, config), weights


def load_named(cls, folder, tmp):
    """A model with weights named by their saved keys, and the folder of them."""
    named, weights = renamed(folder)
    return cls.from_pretrained(named).eval(), named, weights


def videomae(tmp_path, **changes):
    cls = transformers.VideoMAEForPreTraining
    first = make(cls, transformers.VideoMAEConfig, cases.VIDEOMAE, **changes)
    model, folder, weights = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    model.decoder.norm.eps = 1e-6  # what VideoMAE trains with; transformers leaves torch's default
    return model, folder, weights


def test_videomae_tokens_logits_and_loss(tmp_path):
    model, folder, weights = videomae(tmp_path)
    import_file(folder, tmp_path / "run")
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    tokens = model.videomae(x).last_hidden_state.detach()
    close(load_encoder(tmp_path / "run").tokens(video), tokens)
    seen, hidden = cases.masks()
    masked = torch.zeros(2, 32, dtype=torch.bool).scatter(1, torch.from_numpy(hidden), True)
    out = model(x, bool_masked_pos=masked)
    logits, loss = models.mae(tmp_path / "run", video, seen, hidden)
    close(logits, out.logits)
    close(loss, out.loss)
    golden(
        "hf_videomae", weights, tokens=tokens, logits=out.logits.detach(), loss=out.loss.detach()
    )


def test_version_5_key_style(tmp_path):
    model, folder, weights = videomae(tmp_path)
    style5 = {
        k.replace("attention.q_bias", "attention.query.bias").replace(
            "attention.v_bias", "attention.value.bias"
        ): v
        for k, v in weights.items()
    }
    assert style5.keys() == model.state_dict().keys() != weights.keys()
    cases.save_folder(tmp_path / "v5", style5, cases.VIDEOMAE)
    import_file(tmp_path / "v5", tmp_path / "run5")
    import_file(folder, tmp_path / "run4")
    video = cases.clips(4, 16, 16)
    a, b = (load_encoder(tmp_path / r).tokens(video) for r in ("run4", "run5"))
    np.testing.assert_array_equal(a, b)
    export_checkpoint(tmp_path / "run5", tmp_path / "out", "transformers", whole=True)
    back = tensors(tmp_path / "out")
    assert back.keys() == style5.keys()
    assert all(np.array_equal(back[key], style5[key]) for key in back)


def test_videomae_classifier(tmp_path):
    cls = transformers.VideoMAEForVideoClassification
    changes = {"use_mean_pooling": True, "num_labels": 5}
    first = make(cls, transformers.VideoMAEConfig, cases.VIDEOMAE, **changes)
    model, folder, weights = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    model.fc_norm.eps = 1e-6
    import_file(folder, tmp_path / "run")
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    out = model(x).logits.detach()
    close(models.logits(tmp_path / "run", video), out)
    tokens = model.videomae(x).last_hidden_state
    encoder = load_encoder(tmp_path / "run")
    close(encoder.tokens(video), tokens)
    close(encoder.features(video), model.fc_norm(tokens.mean(1)))
    golden("hf_videomae_classifier", weights, logits=out)


@pytest.mark.parametrize("name", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_a_folder_without_a_last_norm(tmp_path, name):
    """transformers leaves the norm out where use_mean_pooling is true, which is its default."""
    cls = getattr(transformers, name)
    first = make(cls, transformers.VideoMAEConfig, cases.VIDEOMAE, use_mean_pooling=True)
    model, folder, weights = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    meta = import_file(folder, tmp_path / "run")
    assert meta["encoder"]["final_norm"] == "none"
    assert "has no last norm" in " ".join(meta["import"]["notes"])
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    theirs = (model if name == "VideoMAEModel" else model.videomae)(x).last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), theirs)
    export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers", whole=True)
    back = tensors(tmp_path / "out")
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[key], weights[key]) for key in back)
    import_file(tmp_path / "out", tmp_path / "again")  # compares its record


@pytest.mark.slow
@pytest.mark.parametrize("frames, size", [(8, (16, 16)), (64, (8, 8)), (4, (12, 20))])
def test_videomae_other_sizes(tmp_path, frames, size):
    model, folder, _ = videomae(tmp_path, num_frames=frames, image_size=list(size))
    import_file(folder, tmp_path / "run")
    video = cases.clips(frames, *size, batch=1)
    tokens = model.videomae(torch.from_numpy(cases.pixels(video))).last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), tokens)


def vjepa2(tmp_path, **changes):
    cls = transformers.VJEPA2ForVideoClassification
    first = make(cls, transformers.VJEPA2Config, cases.VJEPA2, **changes)
    return load_named(cls, saved(first, tmp_path / "hf"), tmp_path)


def test_vjepa2_tokens_predictions_and_probe(tmp_path):
    model, folder, weights = vjepa2(tmp_path)
    meta = import_file(folder, tmp_path / "run")
    assert meta["encoder"]["position"] == "rope_3d_tiled"
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    context, target = cases.masks()
    ids = [torch.from_numpy(context)], [torch.from_numpy(target)]
    out = model.vjepa2(x, context_mask=ids[0], target_mask=ids[1])
    tokens, predicted = out.last_hidden_state, out.predictor_output.last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), tokens)
    # transformers predicts with mask token 1.
    close(models.jepa(tmp_path / "run", video, context, target, 1), predicted)
    other = models.jepa(tmp_path / "run", video, context, target, 0)
    assert np.abs(other - predicted.detach().numpy()).max() > 1e-2
    logits = model(x).logits
    close(models.logits(tmp_path / "run", video), logits)
    outputs = {"tokens": tokens, "predicted": predicted, "logits": logits}
    golden("hf_vjepa2", weights, **{k: v.detach() for k, v in outputs.items()})


def test_chosen_mask_tokens(tmp_path):
    model, folder, _ = vjepa2(tmp_path)
    import_file(folder, tmp_path / "run", ImportOptions(mask_tokens=(1, 0)))
    video = cases.clips(4, 16, 16)
    context, target = cases.masks()
    out = model.vjepa2(
        torch.from_numpy(cases.pixels(video)),
        context_mask=[torch.from_numpy(context)],
        target_mask=[torch.from_numpy(target)],
    )
    predicted = out.predictor_output.last_hidden_state
    close(models.jepa(tmp_path / "run", video, context, target, 0), predicted)


@pytest.mark.slow
@pytest.mark.parametrize("frames, side", [(8, 16), (64, 8), (16, 24)])
def test_vjepa2_other_sizes(tmp_path, frames, side):
    model, folder, _ = vjepa2(tmp_path, frames_per_clip=frames, crop_size=side)
    import_file(folder, tmp_path / "run")
    video = cases.clips(frames, side, side, batch=1)
    x = torch.from_numpy(cases.pixels(video))
    tokens = model.vjepa2(x, skip_predictor=True).last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), tokens)


def test_resizing_by_extension_is_what_transformers_does(tmp_path):
    model, folder, _ = vjepa2(tmp_path)
    larger = copy.deepcopy(model)
    for module in larger.modules():
        if hasattr(module, "grid_size"):
            module.grid_size = 24 // 4
    options = ImportOptions(resize_to=(8, 24, 24), resize_method="extend")
    meta = import_file(folder, tmp_path / "run", options)
    assert meta["import"]["resized"] == {"from": [4, 16, 16], "method": "extend"}
    video = cases.clips(8, 24, 24, batch=1)
    x = torch.from_numpy(cases.pixels(video))
    tokens = larger.vjepa2(x, skip_predictor=True).last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), tokens)


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_frame_by_frame(tmp_path, gated):
    cls = transformers.DINOv3ViTModel
    changes = {"use_gated_mlp": gated, "hidden_act": "silu" if gated else "gelu"}
    first = make(cls, transformers.DINOv3ViTConfig, cases.DINOV3, **changes)
    model, folder, weights = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    import_file(folder, tmp_path / "run", ImportOptions(num_frames=3))
    video = cases.clips(3, 16, 16)
    frames = torch.from_numpy(cases.pixels(video).reshape(6, 3, 16, 16))
    theirs = model(frames).last_hidden_state.detach()
    every = models.all_tokens(tmp_path / "run", video)
    close(every.reshape(6, 3 + 16, 48), theirs)
    tokens = load_encoder(tmp_path / "run").tokens(video)
    close(tokens, theirs[:, 3:].reshape(2, 3 * 16, 48))
    if not gated:
        golden("hf_dinov3", weights, tokens=tokens)


def test_dinov3_at_another_size_and_not_square(tmp_path):
    cls = transformers.DINOv3ViTModel
    first = make(cls, transformers.DINOv3ViTConfig, cases.DINOV3)
    model, folder, _ = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    import_file(folder, tmp_path / "run", ImportOptions(resize_to=(1, 12, 24)))
    video = cases.clips(1, 12, 24)
    theirs = model(torch.from_numpy(cases.pixels(video)[:, 0])).last_hidden_state[:, 3:]
    close(load_encoder(tmp_path / "run").tokens(video), theirs)


@pytest.mark.parametrize("registers, swiglu", [(True, False), (False, False), (True, True)])
def test_dinov2(tmp_path, registers, swiglu):
    cls, config_cls = transformers.Dinov2Model, transformers.Dinov2Config
    if registers:
        cls = transformers.Dinov2WithRegistersModel
        config_cls = transformers.Dinov2WithRegistersConfig
    values = cases.DINOV2 if registers else cases.DINOV2 | {"model_type": "dinov2"}
    values = {k: v for k, v in values.items() if registers or k != "num_register_tokens"}
    first = make(cls, config_cls, values, use_swiglu_ffn=swiglu)
    model, folder, weights = load_named(cls, saved(first, tmp_path / "hf"), tmp_path)
    prefix = 3 if registers else 1
    for size, options in (((16, 16), {}), ((24, 16), {"resize_to": (1, 24, 16)})):
        run = tmp_path / f"run{size[0]}"
        import_file(folder, run, ImportOptions(num_frames=1, **options))
        video = cases.clips(1, *size)
        theirs = model(torch.from_numpy(cases.pixels(video)[:, 0])).last_hidden_state[:, prefix:]
        close(load_encoder(run).tokens(video), theirs)
        if registers and not swiglu and not options:
            golden("hf_dinov2", weights, tokens=theirs.detach())
        if swiglu:
            return


@pytest.mark.slow
def test_g_width(tmp_path):
    changes = {
        "hidden_size": 1408,
        "num_attention_heads": 22,
        "mlp_ratio": 48 / 11,
        "num_hidden_layers": 1,
        "num_pooler_layers": 0,
    }
    model, folder, _ = vjepa2(tmp_path, **changes)
    import_file(folder, tmp_path / "run")
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    tokens = model.vjepa2(x, skip_predictor=True).last_hidden_state
    close(load_encoder(tmp_path / "run").tokens(video), tokens)

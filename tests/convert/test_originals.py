"""Parity in the key styles of VideoMAE and V-JEPA, and the strange corners of each format."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from convert import cases, models
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, ImportOptions, import_file
from surgrec_jax.convert.families import recognise
from surgrec_jax.convert.files import open_file
from surgrec_jax.convert.videomae import FIRST_TOKEN, TABLE

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import (  # noqa: E402
    OPTIONS,
    SMALL,
    close,
    run_predictor,
    run_vjepa,
    save,
    torch_state,
    videomae_shapes,
    videomae_tokens,
    vjepa_groups,
)


def test_videomae_pretraining_file(tmp_path):
    state = torch_state(videomae_shapes())
    args = argparse.Namespace(num_frames=4, input_size=16, model="pretrain", opt_betas=None)
    path = save(
        tmp_path / "checkpoint-9.pth",
        model=state | {"encoder.pos_embed": ref.sincos_1d(32, 48)[None]},
        model_ema=state,
        optimizer={"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        epoch=9,
        scaler={"scale": 1.0},
        args=args,
    )
    meta = import_file(path, tmp_path / "run", ImportOptions(heads=3, head_heads=2))
    assert meta["import"]["notes"] == []
    assert meta["import"]["ignored"] == {"training state, not weights": 1 + len(state), TABLE: 1}
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    whole = ref.layer_norm(videomae_tokens(state, x, "encoder."), state, "encoder.norm")
    close(load_encoder(tmp_path / "run").tokens(video), whole)

    seen, hidden = cases.masks()
    visible = videomae_tokens(state, x, "encoder.", seen)
    visible = ref.layer_norm(visible, state, "encoder.norm")
    table = ref.sincos_1d(32, 24)
    t = torch.cat(
        [
            ref.linear(visible, state, "encoder_to_decoder") + table[torch.from_numpy(seen)],
            state["mask_token"] + table[torch.from_numpy(hidden)],
        ],
        1,
    )
    for i in range(2):
        t = ref.block(t, state, f"decoder.blocks.{i}.", 2)
    t = ref.linear(ref.layer_norm(t[:, 12:], state, "decoder.norm"), state, "decoder.head")
    logits, _ = models.mae(tmp_path / "run", video, seen, hidden)
    close(logits, t)


def test_a_position_table_that_was_learned(tmp_path):
    learned = {"encoder.pos_embed": torch.zeros(1, 32, 48)}
    path = save(tmp_path / "x.pth", model=torch_state(videomae_shapes()) | learned)
    with pytest.raises(ConvertError, match=r"pos_embed is not VideoMAE's fixed position table"):
        import_file(path, tmp_path / "run", OPTIONS)


def test_videomae_fine_tuned_file(tmp_path):
    shapes = ref.encoder_shapes("", qv=True) | ref.norm_shapes("fc_norm")
    state = torch_state(shapes | {"head.weight": [5, 48], "head.bias": [5]})
    path = save(tmp_path / "vit_b_dist.pth", module=state)
    meta = import_file(path, tmp_path / "run", ImportOptions(**SMALL))
    assert meta["parts"]["head"]["classes"] == 5
    video = cases.clips(4, 16, 16)
    t = videomae_tokens(state, torch.from_numpy(cases.pixels(video)), "")
    pooled = ref.layer_norm(t.mean(1), state, "fc_norm")
    encoder = load_encoder(tmp_path / "run")
    close(encoder.tokens(video), t)
    close(encoder.features(video), pooled)
    close(models.logits(tmp_path / "run", video), ref.linear(pooled, state, "head"))


def test_a_classifier_on_the_first_token_is_left_out(tmp_path):
    shapes = ref.encoder_shapes("", qv=True) | ref.norm_shapes("norm")
    state = torch_state(shapes | {"head.weight": [5, 48], "head.bias": [5]})
    path = save(tmp_path / "vit.pth", model=state)
    meta = import_file(path, tmp_path / "run", ImportOptions(**SMALL))
    assert meta["parts"] == {}
    assert meta["import"]["ignored"] == {FIRST_TOKEN: 2}


def test_a_position_table_that_a_rotary_encoder_never_read(tmp_path):
    """Public files of V-JEPA 2 have one, and ten mask tokens; other numbers are anyone's."""
    for tokens, family in ((2, "vjepa1"), (10, "vjepa2"), (4, None)):
        groups = vjepa_groups(tokens=tokens)
        for name in ("encoder", "target_encoder"):
            groups[name]["module.backbone.pos_embed"] = torch.zeros(1, 32, 48)
        path = save(tmp_path / f"{tokens}.pt", **groups)
        if family is None:
            with pytest.raises(ConvertError, match="give --family=vjepa1 or --family=vjepa2"):
                open_and_recognise(path)
            meta = import_file(path, tmp_path / "run", replace(OPTIONS, family="vjepa2"))
            assert meta["import"]["ignored"]["left over: a RoPE encoder reads none"] == 2
        else:
            assert open_and_recognise(path) == family


def open_and_recognise(path):
    return recognise(open_file(path).shapes())


def test_one_mask_token_for_two_kinds_of_masks(tmp_path):
    path = save(tmp_path / "latest.pt", **(groups := vjepa_groups(tokens=4)))
    options = ImportOptions(**SMALL, head_heads=2, mask_tokens=(2, 0, 2))
    meta = import_file(path, tmp_path / "run", options)
    assert meta["import"]["ignored"]["mask token not asked for"] == 2
    rows = [groups["predictor"][f"module.backbone.mask_tokens.{n}"].view(-1) for n in (2, 0, 2)]
    np.testing.assert_array_equal(models.mask_tokens(tmp_path / "run"), torch.stack(rows).numpy())
    with pytest.raises(ConvertError, match=r"mask_tokens=\(7,\): the file has \[0, 1, 2, 3\]"):
        import_file(path, tmp_path / "no", ImportOptions(**SMALL, head_heads=2, mask_tokens=(7,)))
    with pytest.raises(ConvertError, match="width 24 is not a public size; give --head_heads"):
        import_file(path, tmp_path / "no", ImportOptions(**SMALL))


def test_vjepa2_file_target_and_online(tmp_path):
    groups, grid = vjepa_groups(), (4, 2, 6)
    path = save(tmp_path / "latest.pt", **groups)
    size = {"num_frames": 8, "image_size": (8, 24), "heads": 3, "head_heads": 2}
    meta = import_file(path, tmp_path / "run", ImportOptions(**size))
    assert meta["encoder"]["position"] == "rope_3d_tiled"
    import_file(path, tmp_path / "online", ImportOptions(**size, encoder="online"))
    video = cases.clips(8, 8, 24)
    x, turn = torch.from_numpy(cases.pixels(video)), ref.rope(grid, tiled=True)
    target = run_vjepa(groups["target_encoder"], x, turn)
    close(load_encoder(tmp_path / "run").tokens(video), target)
    close(load_encoder(tmp_path / "online").tokens(video), run_vjepa(groups["encoder"], x, turn))


def test_vjepa1_file(tmp_path):
    groups = vjepa_groups()
    table, narrow = ref.sincos_3d((2, 4, 4), 48), ref.sincos_3d((2, 4, 4), 24)
    for name in ("encoder", "target_encoder"):
        groups[name]["module.backbone.pos_embed"] = table[None]
    groups["predictor"]["module.backbone.predictor_pos_embed"] = narrow[None]
    path = save(tmp_path / "vitl16.pth.tar", **groups)
    meta = import_file(path, tmp_path / "run", OPTIONS)
    assert meta["import"]["family"] == "vjepa1"
    video = cases.clips(4, 16, 16)
    x = torch.from_numpy(cases.pixels(video))
    target = run_vjepa(groups["target_encoder"], x, table=table)
    close(load_encoder(tmp_path / "run").tokens(video), target)
    seen, hidden = (torch.from_numpy(m) for m in cases.masks())
    context = run_vjepa(groups["encoder"], x, table=table)
    context = torch.gather(context, 1, seen[..., None].expand(-1, -1, 48))
    theirs = run_predictor(groups["predictor"], context, seen, hidden, 1, table=narrow)
    close(models.jepa(tmp_path / "run", video, *cases.masks(), 1), theirs)
    with pytest.raises(ConvertError, match="pos_embed has"):
        import_file(path, tmp_path / "no", ImportOptions(num_frames=16, heads=3, head_heads=2))


def test_vjepa1_positions_resampled_like_torch(tmp_path):
    groups = vjepa_groups()
    table = ref.sincos_3d((2, 4, 4), 48)
    state = groups["encoder"] | {"module.backbone.pos_embed": table[None]}
    path = save(tmp_path / "surgrec_jepa.pt", encoder=state)
    with pytest.raises(ConvertError, match="no EMA target"):
        import_file(path, tmp_path / "no", ImportOptions(**SMALL))
    options = ImportOptions(**SMALL, encoder="online", resize_to=(8, 24, 16))
    meta = import_file(path, tmp_path / "run", options)
    assert meta["encoder"]["position_grid"] == (2, 4, 4)
    assert meta["import"]["resized"]["method"] == "interpolate"
    larger = torch.nn.functional.interpolate(
        table.reshape(1, 2, 4, 4, 48).permute(0, 4, 1, 2, 3), (4, 6, 4), mode="trilinear"
    )
    larger = larger.permute(0, 2, 3, 4, 1).reshape(-1, 48)
    video = cases.clips(8, 24, 16)
    theirs = run_vjepa(state, torch.from_numpy(cases.pixels(video)), table=larger)
    close(load_encoder(tmp_path / "run").tokens(video), theirs)


@pytest.mark.parametrize("name", ["ema_encoder", "target_encoder"])
def test_vjepa21_hub_file(tmp_path, name):
    shapes = ref.encoder_shapes("module.backbone.")
    for level in range(4):
        shapes |= ref.norm_shapes(f"module.backbone.norms_block.{level}")
    shapes |= {
        "module.backbone.video_mod_embed": [1, 1, 48],
        "module.backbone.img_mod_embed": [1, 1, 48],
        "module.backbone.patch_embed_img.proj.weight": [48, 3, 1, 4, 4],
        "module.backbone.patch_embed_img.proj.bias": [48],
    }
    state = torch_state(shapes, f"{name}/")
    path = save(tmp_path / "vjepa2_1_vitb.pt", **{name: state})
    meta = import_file(path, tmp_path / "run", ImportOptions(**SMALL))
    assert meta["encoder"]["position"] == "rope_3d"
    video = cases.clips(4, 16, 16)
    # Rows and columns run from 0 to 15, those of 256 px in patches of 16, on any grid.
    turn = ref.rope((2, 4, 4), tiled=False, stretch=(1, 15 / 3, 15 / 3))
    x = torch.from_numpy(cases.pixels(video))
    theirs = run_vjepa(state, x, turn, norm="norms_block.3")
    close(load_encoder(tmp_path / "run").tokens(video), theirs)


def test_attentive_probe_of_the_original(tmp_path):
    groups = vjepa_groups()
    import_file(save(tmp_path / "latest.pt", **groups), tmp_path / "run", OPTIONS)
    shapes = {"module.pooler.query_tokens": [1, 1, 48]}
    shapes |= ref.block_shapes("module.pooler.blocks.0.", 48, 192)
    cross = "module.pooler.cross_attention_block."
    shapes |= ref.norm_shapes(f"{cross}norm1") | ref.norm_shapes(f"{cross}norm2")
    for key, rows, columns in (
        (f"{cross}xattn.q", 48, 48),
        (f"{cross}xattn.kv", 96, 48),
        (f"{cross}mlp.fc1", 192, 48),
        (f"{cross}mlp.fc2", 48, 192),
        ("module.linear", 5, 48),
    ):
        shapes |= {f"{key}.weight": [rows, columns], f"{key}.bias": [rows]}
    state = torch_state(shapes)
    other = torch_state(shapes, "another")
    path = save(tmp_path / "probe.pt", classifiers=[other, state], opt=[{"state": {}}], epoch=1)
    options = ImportOptions(head_heads=3, probe=1)
    import_file(path, tmp_path / "probed", options, encoder_from=tmp_path / "run")
    with pytest.raises(ConvertError, match=r"--probe=2: .* has \[0, 1\]"):
        import_file(path, tmp_path / "no", replace(options, probe=2), encoder_from=tmp_path / "run")
    online = replace(options, encoder="online")
    with pytest.raises(ConvertError, match="--encoder is for a file with two"):
        import_file(path, tmp_path / "no", online, encoder_from=tmp_path / "run")
    video = cases.clips(4, 16, 16)
    turn = ref.rope((2, 4, 4), tiled=True)
    t = run_vjepa(groups["target_encoder"], torch.from_numpy(cases.pixels(video)), turn)
    t = ref.block(t, state, "module.pooler.blocks.0.", 3, eps=1e-5)
    y = ref.layer_norm(t, state, f"{cross}norm1", 1e-5)
    query = state["module.pooler.query_tokens"].expand(2, 1, 48)
    q = ref.linear(query, state, f"{cross}xattn.q").view(2, 1, 3, 16).transpose(1, 2)
    k, v = ref.linear(y, state, f"{cross}xattn.kv").view(2, -1, 2, 3, 16).permute(2, 0, 3, 1, 4)
    pooled = torch.softmax(q @ k.transpose(-1, -2) / 4, -1) @ v
    pooled = query + pooled.transpose(1, 2).reshape(2, 1, 48)
    y = ref.linear(ref.layer_norm(pooled, state, f"{cross}norm2", 1e-5), state, f"{cross}mlp.fc1")
    pooled = pooled + ref.linear(torch.nn.functional.gelu(y), state, f"{cross}mlp.fc2")
    logits = ref.linear(pooled[:, 0], state, "module.linear")
    close(models.logits(tmp_path / "probed", video), logits)
    encoders = (load_encoder(tmp_path / run).tokens(video) for run in ("run", "probed"))
    np.testing.assert_array_equal(*encoders)

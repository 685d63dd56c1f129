"""LeVJEPA's published folder against a second reading in plain torch: causal, with a CLS token."""

import pytest

from convert import cases
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, import_file

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import close  # noqa: E402

FRAMES, SIDE, WIDTH, HEADS = 3, 16, 48, 3
CONFIG = {"model_type": "levjepa", "attn_mode": "block_causal", "num_heads": HEADS}
CONFIG |= {"num_frames": FRAMES, "img_size": SIDE}


def tensors():
    shapes = ref.encoder_shapes("encoder.", kernel=(1, 4, 4)) | ref.norm_shapes("encoder.norm")
    return cases.state(shapes | {"encoder.cls_token": [1, 1, WIDTH]})


def folder(path, **changes):
    config = {k: v for k, v in (CONFIG | changes).items() if v is not None}
    return cases.save_folder(path, tensors(), config)


def attend(x, state, key, turn, allowed):
    """Attention of [B, 1 + N, D] whose first token is not turned; allowed [1 + N, 1 + N] bool."""
    b, n, d = x.shape
    qkv = ref.linear(x, state, f"{key}attn.qkv").view(b, n, 3, HEADS, d // HEADS)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    q, k = (torch.cat([y[:, :, :1], turn(y[:, :, 1:])], 2) for y in (q, k))
    scores = (q @ k.transpose(-1, -2) / (d // HEADS) ** 0.5).masked_fill(~allowed, -torch.inf)
    mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, n, d)
    return ref.linear(mixed, state, f"{key}attn.proj")


def features(video, causal):
    """All tokens of the original, the CLS token first: [B, 1 + N, D]."""
    state = {k: torch.from_numpy(v) for k, v in tensors().items()}
    x = ref.tokens(torch.from_numpy(cases.pixels(video)), state, "encoder.")
    x = torch.cat([state["encoder.cls_token"].expand(len(x), -1, -1), x], 1)
    grid = (FRAMES, SIDE // 4, SIDE // 4)
    frame = ref.coordinates(grid)[:, 0]
    time = torch.cat([torch.tensor([float(FRAMES)]), frame])  # CLS reads all, and none reads it
    allowed = time[:, None] >= time[None] if causal else torch.ones(len(time), len(time)).bool()
    for i in range(2):
        key = f"encoder.blocks.{i}."
        y = ref.layer_norm(x, state, f"{key}norm1")
        x = x + attend(y, state, key, ref.rope(grid, tiled=True), allowed)
        y = ref.linear(ref.layer_norm(x, state, f"{key}norm2"), state, f"{key}mlp.fc1")
        x = x + ref.linear(torch.nn.functional.gelu(y), state, f"{key}mlp.fc2")
    return ref.layer_norm(x, state, "encoder.norm")


@pytest.mark.parametrize("attention", ["block_causal", "full"])
def test_tokens_and_features_are_those_of_the_original(tmp_path, attention):
    meta = import_file(folder(tmp_path / "hub", attn_mode=attention), tmp_path / "run")
    assert meta["objective"] == "levjepa" and not meta["uses_target"] and meta["fps"] == 7.5
    assert meta["import"]["family"] == "levjepa" and meta["encoder"]["attention"] == attention
    video = cases.clips(FRAMES, SIDE, SIDE)
    theirs, ours = features(video, attention == "block_causal"), load_encoder(tmp_path / "run")
    close(ours.tokens(video), theirs[:, 1:])
    close(ours.features(video), theirs[:, 0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attn_mode": None}, "attn_mode=None.*fit both full and block_causal attention"),
        ({"attn_mode": "causal"}, "attn_mode='causal'"),
        ({"num_heads": "three"}, "num_heads='three' is no positive whole number"),
        ({"num_heads": 5}, "5 heads do not divide an encoder of 48"),
        ({"img_size": 0}, "img_size=0 is no positive"),
    ],
)
def test_what_config_json_must_say(tmp_path, changes, says):
    with pytest.raises(ConvertError, match=says):
        import_file(folder(tmp_path / "hub", **changes), tmp_path / "run")


def test_weights_alone_do_not_say_whether_they_are_causal(tmp_path):
    path = folder(tmp_path / "hub")
    (path / "config.json").unlink()
    with pytest.raises(ConvertError, match="give the whole folder, with the config.json"):
        import_file(path / "model.safetensors", tmp_path / "run")

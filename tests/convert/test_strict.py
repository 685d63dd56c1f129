"""The mapping engine, and files that must be refused with a sentence that names what is wrong."""

import numpy as np
import pytest

from convert import cases
from surgrec_jax import load_encoder
from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.convert import ConvertError, ImportOptions, import_file
from surgrec_jax.convert.import_plan import part_shapes
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.convert.split_tensors import SplitTensors
from surgrec_jax.convert.strict import LINEAR, Ignored, Rule, fused_linear, to_params, to_source
from surgrec_jax.frozen.architecture import check_architecture
from surgrec_jax.models.presets import ViTConfig


class Tensors(dict):
    """Arrays as a source file."""

    name = "file"

    def shapes(self):
        return {key: value.shape for key, value in self.items()}

    def get(self, key):
        return self[key]


def arrays(**shapes):
    return Tensors({k: cases.weight(k, s) for k, s in shapes.items()})


RULES = [
    Rule(("{i}.q", "{i}.k"), "qk/kernel", fused_linear(2), depth=2),
    Rule("head", "head/kernel", LINEAR),
]
SHAPES = {"0.q": (3, 4), "0.k": (3, 4), "1.q": (3, 4), "1.k": (3, 4), "head": (5, 3)}
WANTED = {"qk/kernel": (2, 4, 6), "head/kernel": (3, 5)}


def test_layers_are_stacked_and_the_way_back_is_exact():
    source = arrays(**SHAPES)
    params, ignored = to_params(source, RULES, [], WANTED)
    np.testing.assert_array_equal(params["qk/kernel"][1, :, 3:], source["1.k"].T)
    assert ignored == {}
    back = to_source(params, RULES)
    assert back.keys() == source.keys()
    for key, value in source.items():
        np.testing.assert_array_equal(back[key], value)


def refused(match, source=None, rules=RULES, ignored=(), wanted=WANTED):
    with pytest.raises(ConvertError, match=match):
        to_params(source or arrays(**SHAPES), rules, ignored, wanted)


def test_every_kind_of_disagreement_is_listed():
    refused("missing from the file: 1.k", arrays(**{k: s for k, s in SHAPES.items() if k != "1.k"}))
    refused("in the file and unknown: extra", arrays(**SHAPES, extra=(2,)))
    refused("parameters nothing fills: new/bias", wanted=WANTED | {"new/bias": (3,)})
    refused(
        r"head is \[3, 5\], expected \[5, 3\] \(transposed\?\)", arrays(**SHAPES | {"head": (3, 5)})
    )
    refused("the table reads more than once: head", rules=[*RULES, Rule("head", "x")])
    refused("the table fills more than once: head/kernel", rules=[*RULES, Rule("y", "head/kernel")])
    both = arrays(**{k: s for k, s in SHAPES.items() if k != "0.q"}, extra=(2,))
    refused("missing from the file: 0.q; in the file and unknown: extra", both)


def test_ignored_keys_are_reported_and_checked():
    source = arrays(**SHAPES, table=(2,))
    _, ignored = to_params(source, RULES, [Ignored("tab.*", "we compute it")], WANTED)
    assert ignored == {"table": "we compute it"}
    wrong = [Ignored("tab.*", "we compute it", lambda x: "is not ours")]
    refused("table is not ours", source, ignored=wrong)
    with pytest.raises(ConvertError, match="has no place for: qk/kernel"):
        to_source({"head/kernel": np.zeros((3, 5)), "qk/kernel": np.zeros((2, 4, 6))}, RULES[1:])


def test_weights_are_numbers():
    def with_head(value):
        return arrays(**SHAPES) | {"head": value}

    value = cases.weight("head", SHAPES["head"])
    refused("head is int8, a quantised", Tensors(with_head(value.astype(np.int8))))
    value[1, 1] = np.nan
    refused("head has 1 of 15 numbers that are NaN or infinite", Tensors(with_head(value)))


def test_a_tensor_that_is_read_as_two():
    whole = SplitTensors(arrays(w12=(6, 2), other=(3,)), "w12")
    assert whole.shapes() == {"w12/0": (3, 2), "w12/1": (3, 2), "other": (3,)}
    np.testing.assert_array_equal(whole.get("w12/1"), cases.weight("w12", (6, 2))[3:])
    with pytest.raises(ConvertError, match=r"w12 is \[5, 2\], not two of a kind"):
        SplitTensors(arrays(w12=(5, 2)), "w12")


def golden_file(tmp_path, name="hf_vjepa2", config=None, change=None):
    """A transformers folder with the weights that the golden outputs were made from."""
    tensors, outputs = cases.read_golden(name)
    if change:
        change(tensors)
    folder = cases.save_folder(tmp_path / name, tensors, config or cases.CONFIGS[name])
    return folder, outputs


def refuse_file(tmp_path, match, name="hf_vjepa2", config=None, change=None, **options):
    folder, _ = golden_file(tmp_path, name, config, change)
    with pytest.raises(ConvertError, match=match):
        import_file(folder, tmp_path / "run", ImportOptions(**options))
    assert not (tmp_path / "run").exists()


KEY = "vjepa2.encoder.layer.1.mlp.fc1.weight"


def test_a_missing_key(tmp_path):
    refuse_file(tmp_path, f"missing from the file: {KEY}", change=lambda t: t.pop(KEY))


def test_an_extra_key(tmp_path):
    extra = {"vjepa2.encoder.extra": np.zeros(3, np.float32)}
    refuse_file(tmp_path, "unknown: vjepa2.encoder.extra", change=lambda t: t.update(extra))


def test_a_transposed_matrix(tmp_path):
    def change(t):
        t[KEY] = np.ascontiguousarray(t[KEY].T)

    refuse_file(tmp_path, rf"{KEY} is \[48, 96\], expected \[96, 48\]", change=change)


def test_the_wrong_family(tmp_path):
    refuse_file(tmp_path, "has the keys of hf_vjepa2, not of hf_videomae", family="hf_videomae")


def test_another_clip_length_than_the_file_states(tmp_path):
    refuse_file(tmp_path, "--num_frames=8, and the file was trained with 4", num_frames=8)


def test_a_truncated_file(tmp_path):
    folder, _ = golden_file(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ConvertError, match=r"no readable safetensors file .* download it again"):
        import_file(folder, tmp_path / "run")


def reference(tmp_path, outputs, hidden=False):
    """The original's tokens, and the input of every block by our own (checked) encoder."""
    arrays = {"video": cases.clips(4, 16, 16), "tokens": outputs["tokens"]}
    if hidden:
        model = Model(tmp_path / "right")
        arrays["hidden"] = hidden_states(model, arrays["video"])
    np.savez(tmp_path / "reference.npz", **arrays)
    return tmp_path / "reference.npz"


def hidden_states(model, video):
    """[L + 1, B, N, D]: outputs of encoders cut off after each layer, before the norm."""
    import dataclasses

    import jax
    from flax import nnx

    from surgrec_jax.convert.import_plan import nest
    from surgrec_jax.models.presets import Compute
    from surgrec_jax.models.vit import VideoViT, patchify

    params = nest(model.params)["target_params"]["encoder"]
    states = []
    for depth in range(model.encoder.depth + 1):
        config = dataclasses.replace(model.encoder, depth=max(depth, 1), final_norm="pooled")
        graph = nnx.graphdef(
            nnx.eval_shape(lambda c=config: VideoViT(c, Compute(), rngs=nnx.Rngs(0)))
        )
        layers = {"layers": cut(params["blocks"]["layers"], max(depth, 1), zero=depth == 0)}
        encoder = nnx.merge(graph, params | {"blocks": layers})
        states.append(np.asarray(jax.jit(lambda x, e=encoder: e(x))(patchify(video, config))))
    return np.stack(states)


def cut(tree, depth, zero):
    """The first layers; all zeros pass the residual stream through."""
    import jax

    return jax.tree.map(lambda x: x[:depth] * (0 if zero else 1), tree)


def exchange(t):
    a, b = (f"vjepa2.encoder.layer.1.attention.{n}." for n in ("query", "key"))
    for part in ("weight", "bias"):
        t[a + part], t[b + part] = t[b + part], t[a + part]


def transpose(t):
    key = "vjepa2.encoder.layer.0.attention.proj.weight"
    t[key] = np.ascontiguousarray(t[key].T)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (exchange, "blocks.1: query and key are exchanged"),
        (transpose, "blocks.0: attn.proj is tran"),
    ],
)
def test_what_shapes_cannot_show_a_reference_does(tmp_path, change, sentence):
    folder, outputs = golden_file(tmp_path)
    import_file(folder, tmp_path / "right")
    expect = reference(tmp_path, outputs, hidden=True)
    wrong, _ = golden_file(tmp_path / "wrong", change=change)
    import_file(folder, tmp_path / "checked", expect=expect)
    with pytest.raises(ConvertError, match=sentence):
        import_file(wrong, tmp_path / "run", expect=expect)


def test_the_same_shapes_with_other_positions_are_another_architecture(tmp_path):
    folder, _ = golden_file(tmp_path)
    meta = import_file(folder, tmp_path / "run")
    config = load_encoder(tmp_path / "run").config
    check_architecture(meta, config)
    other = ViTConfig(**{**meta["encoder"], "position": "rope_3d", "norm_eps": 1e-5})
    assert part_shapes("encoder", other) == part_shapes("encoder", config)
    with pytest.raises(CheckpointError, match=r"position: 'rope_3d_tiled'.*norm_eps: 1e-06"):
        check_architecture(meta, other)

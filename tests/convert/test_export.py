"""Export: the same keys and the same bits as were imported, and folders transformers can load."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert import cases
from convert.test_strict import golden_file
from surgrec_jax import checkpoint, load_encoder
from surgrec_jax.convert import ConvertError, export_checkpoint, import_file
from surgrec_jax.convert.__main__ import main
from surgrec_jax.convert.import_plan import nest, part_shapes
from surgrec_jax.frozen import architecture
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


@pytest.mark.parametrize("name", ["hf_videomae", "hf_videomae_classifier", "hf_vjepa2"])
def test_transformers_there_and_back(tmp_path, name):
    folder, _ = golden_file(tmp_path, name)
    import_file(folder, tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers", whole=True)
    same(load_file(tmp_path / "out/model.safetensors"), load_file(folder / "model.safetensors"))
    config = json.loads((tmp_path / "out/config.json").read_text())
    for key, value in cases.CONFIGS[name].items():
        if name == "hf_videomae_classifier" and key.startswith("decoder_"):
            assert key not in config
        else:
            assert config.get(key, 5 if key == "num_labels" else None) == value, key
    if name == "hf_videomae_classifier":
        with pytest.raises(ConvertError, match="a linear classifier only: give --whole where"):
            export_checkpoint(tmp_path / "run", tmp_path / "no", "transformers")


@pytest.mark.parametrize("name", ["hf_videomae", "hf_vjepa2"])
def test_transformers_loads_what_we_export(tmp_path, name):
    torch = pytest.importorskip("torch", reason="AutoModel needs torch")
    transformers = pytest.importorskip("transformers", reason="AutoModel needs transformers")
    folder, outputs = golden_file(tmp_path, name)
    import_file(folder, tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers")
    model, report = transformers.AutoModel.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert all("predictor" in key for key in report["missing_keys"])  # left out without --whole
    video = cases.clips(4, 16, 16)
    options = {"skip_predictor": True} if name == "hf_vjepa2" else {}
    found = model.eval()(torch.from_numpy(cases.pixels(video)), **options).last_hidden_state
    assert np.abs(found.detach().numpy() - outputs["tokens"]).max() < 1e-5
    if name == "hf_videomae":  # VJEPA2's processor needs torchvision
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
        processed = processor(list(video[0]), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(processed, cases.pixels(video[:1]), atol=1e-6)
    whole = tmp_path / "whole"
    export_checkpoint(tmp_path / "run", whole, "transformers", whole=True)
    cls = getattr(transformers, json.loads((whole / "config.json").read_text())["architectures"][0])
    _, report = cls.from_pretrained(whole, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model, report = transformers.AutoModel.from_pretrained(whole, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    found = model.eval()(torch.from_numpy(cases.pixels(video)), **options).last_hidden_state
    assert np.abs(found.detach().numpy() - outputs["tokens"]).max() < 1e-5


def run_of(tmp_path, name, config, options=None, head=None, ema=False):
    """A checkpoint as the trainer saves it, and the state it holds."""
    options, labels = options or {}, ("cut", "sew")
    parts = {"encoder": part_shapes("encoder", config)}
    if head:
        parts["head"] = part_shapes("head", config, head=head)
    else:
        sizes = {k.removeprefix("predictor_"): v for k, v in options.items() if k != "masks"}
        sizes["num_masks"] = len(options["masks"])
        parts["predictor"] = part_shapes("predictor", config, predictor=sizes)
    rng = np.random.default_rng(0)
    params = {
        part: nest({k: rng.standard_normal(s, dtype=np.float32) / 10 for k, s in shapes.items()})
        for part, shapes in parts.items()
    }
    state = {"step": np.zeros((), np.int32), "params": params}
    if ema or name == "jepa":
        averaged = params if ema else {"encoder": params["encoder"]}
        state["target_params"] = jax.tree.map(lambda x: x + 1, averaged)
    meta = {
        "name": f"{name}-test\n\n<img src=x>\x1b[2J",
        "objective": name,
        "uses_target": "target_params" in state,
        "sources": [{"name": "phantom_surgery", "records": 12, "directory": "/secret/data"}],
        "manifest": {"file": "/secret/manifest.json", "hash": "ab12", "leaves": 40},
        "config": {
            "objective": name,
            "model": {"preset": "Ti"},
            "init_from": "/secret/first",
            name: options,
        },
        **architecture.meta_of(config, fps=4.0),
    }
    if head:
        about = {"classes": labels, "multi_label": ema, "head": dataclasses.asdict(head)}
        meta["classifier"] = about
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1, keep_best=0)
    saved.save(7, state, meta)
    saved.close()
    return state


SIZES = {"width": 48, "depth": 2, "heads": 3, "mlp_dim": 96, "patch": 4}
CLIP = {"num_frames": 4, "image_size": (16, 16)}
MASKS = [{"blocks": 2, "scale": 0.2, "context": 6, "target": 3}]
PREDICTOR = {"predictor_depth": 1, "predictor_width": 24, "predictor_heads": 2, "masks": MASKS}


def test_a_trained_run_exports_its_target_with_a_card(tmp_path):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled")
    state = run_of(tmp_path / "run", "jepa", config, PREDICTOR)
    results = {"tasks": [{"name": "phase", "heads": {"linear": {"a": {"mean": 0.5}}}}]}
    results |= {"notes": ["Not clinical."], "overlap": {"a": {"cholec80": {"text": "unknown"}}}}
    (tmp_path / "run/probe").mkdir()
    (tmp_path / "run/probe/results.json").write_text(json.dumps(results))
    for which in ("target", "online"):
        out = tmp_path / which
        export_checkpoint(tmp_path / "run", out, "transformers", encoder=which, whole=True)
        tree = state["target_params"] if which == "target" else state["params"]
        got = load_file(out / "model.safetensors")["encoder.layernorm.weight"]
        np.testing.assert_array_equal(got, tree["encoder"]["norm"]["scale"])
    card = (tmp_path / "target/README.md").read_text()
    for words in (
        "| phantom_surgery | 12 |",
        "step 7",
        "curated manifest of 40 clusters says (hash ab12)",
        '"preset": "Ti"',
        "| phase | linear | a | 50.0 |",
        "Not clinical.",
        "a, cholec80: unknown",
    ):
        assert words in card
    assert "secret" not in card
    assert "# jepa-test &lt;img src=x&gt;\\x1b[2J" in card and "\x1b" not in card
    # And back in, as a run of its own.
    import_file(tmp_path / "target", tmp_path / "again")
    video = cases.clips(4, 16, 16)
    a, b = (load_encoder(tmp_path / name).tokens(video) for name in ("run", "again"))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ema", [False, True])
def test_a_fine_tuned_run_exports_its_classifier(tmp_path, ema):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled", norm_eps=1e-5)
    head = HeadConfig("attentive", 2, depth=1, heads=3, mlp_dim=192)
    state = run_of(tmp_path / "run", "classify", config, head=head, ema=ema)
    files = export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers", whole=True)
    tree = state["target_params" if ema else "params"]
    got = load_file(files[0])
    np.testing.assert_array_equal(got["classifier.bias"], tree["head"]["linear"]["bias"])
    np.testing.assert_array_equal(
        got["vjepa2.encoder.layernorm.bias"], tree["encoder"]["norm"]["bias"]
    )
    config = json.loads(files[1].read_text())
    assert config["id2label"] == {"0": "cut", "1": "sew"}
    assert config["problem_type"] == f"{'multi' if ema else 'single'}_label_classification"


def swap_heads(folder):
    """Another number of heads: no key and no shape shows it."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2}))


def swap_query_and_key(folder):
    tensors = load_file(folder / "model.safetensors")
    a, b = (f"encoder.layer.1.attention.{name}." for name in ("query", "key"))
    for part in ("weight", "bias"):
        tensors[a + part], tensors[b + part] = tensors[b + part], tensors[a + part]
    save_file(tensors, folder / "model.safetensors")


def transpose_a_square(folder):
    tensors = load_file(folder / "model.safetensors")
    key = "encoder.layer.0.attention.proj.weight"
    save_file(tensors | {key: np.ascontiguousarray(tensors[key].T)}, folder / "model.safetensors")


def test_an_import_of_an_export_is_compared_with_what_was_exported(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run")
    for change, sentence in (
        (None, None),
        (swap_query_and_key, "blocks.1: query and key are exchanged"),
        (transpose_a_square, "blocks.0: attn.proj is transposed"),
        (
            swap_heads,
            "tokens differ .*expected.npz by up to .*; blocks.0 is wrong .*number of heads",
        ),
    ):
        out = tmp_path / (change.__name__ if change else "right")
        export_checkpoint(tmp_path / "run", out, "transformers")
        again = tmp_path / f"{out.name}_again"
        if change is None:
            found = import_file(out, again)["import"]["largest_difference"]
            assert list(found) == ["model.safetensors.expected.npz"]
            assert 0 <= max(found.values()) < 1e-5
            continue
        change(out)
        with pytest.raises(ConvertError, match=sentence):
            import_file(out, again)
        assert not again.exists()
        import_file(out, again, expect="none")


def test_command_line(tmp_path, capsys):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    assert main(["inspect", str(folder)]) == 0
    assert "hf_vjepa2" in capsys.readouterr().out
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    assert main(["import", str(folder), "--out", run, "--fps", "5"]) == 0
    assert load_encoder(run).fps == 5
    assert main(["import", str(folder), "--out", run]) == 1
    assert "has checkpoints already" in capsys.readouterr().err
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.json").write_text("{}")
    assert main(["import", str(folder), "--out", str(tmp_path / "begun")]) == 1
    assert "is the workdir of a training run" in capsys.readouterr().err
    assert main(["export", run, "--format=transformers", "--out", out, "--whole"]) == 0
    same(load_file(tmp_path / "out/model.safetensors"), load_file(folder / "model.safetensors"))


def test_safetensors_need_no_torch(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_videomae")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from surgrec_jax.convert.__main__ import main\n"
        f"sys.exit(main(['import', {str(folder)!r}, '--out', {str(tmp_path / 'run')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "x.pth").write_bytes(b"")
    code = code.replace(str(folder), str(tmp_path / "x.pth"))
    code = code.replace(str(tmp_path / "run"), str(tmp_path / "other"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "install torch" in done.stderr

"""A run that begins from a checkpoint and takes another clip: `init_resize`."""

import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import cases
from convert.test_strict import golden_file
from data_builders.common.build.build import build
from surgrec_jax import checkpoint, load_encoder, train
from surgrec_jax.config.build import build_objective, build_optimizer
from surgrec_jax.convert import ImportOptions, import_file
from surgrec_jax.objectives import Question
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.warm_start import WarmStart
from tests.small_phantom import small_phantom

ROOT = Path(__file__).resolve().parents[2]


def config_of(run, file="finetune", **values):
    config = runpy.run_path(str(ROOT / f"configs/{file}.py"))["get_config"]("tiny")
    clip = {"model.num_frames": 8, "model.image_size": 24}
    values = {"init_from": str(run), "data.sources": "own", **clip, **values}
    config.update_from_flattened_dict(values)
    return config


def begin(config):
    """Architecture and parameters with which a fine-tuning run begins, and its warm start."""
    start = WarmStart(config)
    config = start.complete()
    objective = build_objective(config, question=Question(("phase",), ("cut", "sew")))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        {"params": jax.eval_shape(objective.init, jax.random.key(0))},
    )
    fresh = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
    params = start.weights(fresh, abstract, objective)["params"]["encoder"]
    return objective.encoder, params, start


@pytest.mark.parametrize(
    "name, method, options, recorded",
    [
        ("hf_videomae", "interpolate", {}, "interpolate"),
        ("hf_videomae", "extend", {}, "extend"),
        ("hf_vjepa2", "interpolate", {}, "interpolate"),
        ("hf_vjepa2", "extend", {}, "extend"),
        ("hf_dinov3", "interpolate", {"num_frames": 4}, "none: coordinates are relative"),
        ("hf_dinov2", "interpolate", {"num_frames": 4}, "bicubic, antialiased"),
    ],
)
def test_it_begins_where_an_import_at_that_clip_ends(
    tmp_path, capsys, name, method, options, recorded
):
    folder, _ = golden_file(tmp_path, name)
    import_file(folder, tmp_path / "run", ImportOptions(**options))
    larger = ImportOptions(**options, resize_to=(8, 24, 24), resize_method=method)
    if "dino" in name:
        larger = ImportOptions(**options, resize_to=(8, 24, 24))
    import_file(folder, tmp_path / "larger", larger)
    architecture, params, start = begin(config_of(tmp_path / "run", init_resize=method))
    assert "positions resized from 4 x 16 x 16 to 8 x 24 x 24: " in capsys.readouterr().out
    wanted = load_encoder(tmp_path / "larger")
    alike = load_encoder(tmp_path / "run").resized(8, 24, wanted.fps, method)
    assert architecture == wanted.config == alike.config
    jax.tree.map(np.testing.assert_array_equal, params, wanted.params)
    assert alike.fingerprint == wanted.fingerprint
    record = start.resized()
    assert record["from"] == [4, 16, 16] and record["method"].startswith(recorded)


def test_another_clip_is_refused_unless_it_is_asked_for(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_dinov3")
    import_file(folder, tmp_path / "run", ImportOptions(num_frames=4))
    for values, sentence in (
        ({}, "image_size=24 contradicts .* which has 16; .* by --config.init_resize=interpolate"),
        ({"init_resize": "bigger"}, "cannot be resized by 'bigger': choose from"),
        ({"init_resize": "extend"}, "kind rope_2d cannot go on .*: interpolate them"),
        ({"init_resize": "extend", "model.preset": "Ti"}, "give --config.model.preset=checkpoint"),
        ({"init_resize": "interpolate", "model.image_size": 30}, "does not divide into patches"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            WarmStart(config_of(tmp_path / "run", **values)).complete()
    same = {"model.num_frames": 4, "model.image_size": 16, "init_resize": "interpolate"}
    assert begin(config_of(tmp_path / "run", **same))[2].resized() is None


def test_mask_tokens_of_other_kinds_of_masks_are_named(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run")
    masks = ({"blocks": 1, "scale": 0.2, "context": 0.4, "target": 0.1},) * 2
    values = {"model.preset": "checkpoint", "jepa.masks": masks, "data.fps": 4.0}
    values |= {f"jepa.predictor_{k}": v for k, v in (("depth", 2), ("width", 24), ("heads", 2))}
    config = config_of(tmp_path / "run", "jepa", init_resize="interpolate", **values)
    for key in ("width", "depth", "heads", "mlp_dim", "tubelet", "patch", "position"):
        del config.model[key]
    start = WarmStart(config)
    objective = build_objective(start.complete())
    params = jax.eval_shape(objective.init, jax.random.key(0))
    abstract = {"params": params, "target_params": objective.target_of(params)}
    with pytest.raises(checkpoint.CheckpointError, match=r"has 3 mask .*--mask_tokens=0,0$"):
        start.weights(abstract, abstract, objective)


def test_a_cool_down_takes_a_run_to_more_frames_at_a_falling_rate(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run", ImportOptions(mask_tokens=(0, 0)))
    config = runpy.run_path(str(ROOT / "configs/jepa.py"))["get_config"]("cooldown")
    assert config.model.num_frames == 64
    masks = ({"blocks": 1, "scale": 0.2, "context": 0.4, "target": 0.1},) * 2
    values = {"init_from": str(tmp_path / "run"), "model.num_frames": 8, "jepa.masks": masks}
    values["data.sources"] = "own"  # an import knows of no data
    values |= {f"jepa.predictor_{k}": v for k, v in (("depth", 2), ("width", 24), ("heads", 2))}
    config.update_from_flattened_dict(values)
    start = WarmStart(config)
    config = start.complete()
    objective = build_objective(config)
    assert objective.encoder.grid == (4, 4, 4) and objective.encoder.position_grid is None
    params = jax.tree.map(jnp.zeros_like, jax.eval_shape(objective.init, jax.random.key(0)))
    fresh = {"params": params, "target_params": objective.target_of(params)}
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), fresh
    )
    state = start.weights(fresh, abstract, objective)
    wanted = load_encoder(tmp_path / "run").params
    jax.tree.map(np.testing.assert_array_equal, state["target_params"]["encoder"], wanted)
    assert np.abs(state["params"]["predictor"]["mask_tokens"]).max() > 0
    rate = build_optimizer(config, ()).lr
    peak, steps = config.optim.lr, config.steps
    assert float(rate(300)) == pytest.approx(peak)
    halfway = float(rate(300 + (steps - 300) // 2))
    assert halfway == pytest.approx((peak + config.optim.end_lr) / 2, rel=1e-3)
    assert float(rate(steps)) == pytest.approx(config.optim.end_lr)


@pytest.mark.slow
def test_a_run_records_it_and_goes_on_without_the_checkpoint(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run")
    build(
        "phantom_surgery",
        data_dir=tmp_path / "data",
        config=small_phantom(minutes=4.0),
        num_workers=2,
        progress=False,
    )
    values = {"data.data_dir": str(tmp_path / "data"), "data.sources": "phantom_surgery/small"}
    values |= {
        "steps": 2,
        "batch_size": 8,
        "optim.warmup_steps": 1,
        "checkpoint.every": 1,
        "checkpoint.keep": 2,
    }
    values |= {"probe.every": 0, "images.every": 0, "init_resize": "interpolate"}
    out = tmp_path / "tuned"
    assert not train.train(config_of(tmp_path / "run", **values, stop_after=1), out)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert train.train(config_of(tmp_path / "run", **values), out)
    for step in (1, 2):
        meta = checkpoint.read_meta(checkpoint.find(out, step))
        assert meta["resized"] == {"from": [4, 16, 16], "method": "interpolate"}
    assert json.loads((out / "config.json").read_text())["model"]["position_grid"] == [2, 4, 4]
    assert load_encoder(out).config.image_size == (24, 24)
    assert jnp.isfinite(load_encoder(out).features(cases.clips(8, 24, 24))).all()

"""Fine-tuning from a checkpoint to probabilities: what is taken, refused, trained and evaluated."""

import dataclasses
import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders.common.build.build import build
from surgrec_jax import checkpoint, replay, train
from surgrec_jax.config.build import build_objective
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.frozen import architecture, encoder, lineage
from surgrec_jax.frozen.classifier import load_classifier, load_fitting
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import Question, find_objective
from surgrec_jax.records.source import open_source
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.warm_start import WarmStart
from tests.evaluation.probing import probe_sources
from tests.small_phantom import small_phantom

ROOT = Path(__file__).resolve().parents[1]
SMALL = small_phantom(minutes=4.0)
ENCODER = ViTConfig(32, 2, 2, 64, num_frames=4, image_size=(32, 32), patch=16, position="rope_3d")
DECODER = {"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 2}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint as an MAE run writes it."""
    folder = tmp_path_factory.mktemp("mae")
    objective = find_objective("mae").from_config(ENCODER, DECODER | {"mask_ratio": 0.5}, Compute())
    params = jax.jit(objective.init)(jax.random.key(3))
    saved = checkpoint.Checkpoints(folder / "checkpoints", keep=1, keep_best=0)
    meta = {"name": "mae-test", "objective": "mae", "uses_target": False, "sources": []}
    state = {"step": jnp.int32(7), "params": params}
    saved.save(7, state, {**meta, **architecture.meta_of(ENCODER, fps=4.0)})
    saved.close()
    return folder


def config_of(pretrained, **values):
    config = runpy.run_path(str(ROOT / "configs" / "finetune.py"))["get_config"]("tiny")
    config.update_from_flattened_dict(
        {
            "init_from": str(pretrained),
            "steps": 2,
            "batch_size": 8,
            "optim.warmup_steps": 1,
            "data.sources": "phantom_surgery/small",
            "probe.sources": "phantom_surgery/small",
            "probe.every": 2,
            "probe.clips": 16,
            "images.every": 0,
            "log_every": 1,
            **values,
        }
    )
    return config


def test_architecture_and_rate_come_from_the_checkpoint(pretrained, tmp_path):
    config = WarmStart(config_of(pretrained)).complete()
    found = {name: config.model[name] for name in ("width", "depth", "position", "image_size")}
    assert found == {"width": 32, "depth": 2, "position": "rope_3d", "image_size": 32}
    assert config.data.fps == 4.0
    again = WarmStart(config).complete()
    assert again.to_dict() == config.to_dict()  # a second time changes nothing
    # A run that goes on needs the checkpoint no more; one that has saved nothing does.
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    gone = config_of("gone")
    with pytest.raises(checkpoint.CheckpointError, match="gone"):
        WarmStart(gone).complete(tmp_path)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    assert WarmStart(gone).complete(tmp_path).model.to_dict() == config.model.to_dict()
    with pytest.raises(ConfigError, match=r"model.num_frames=16 contradicts .* which has 4"):
        WarmStart(config_of(pretrained, **{"model.num_frames": 16})).complete()
    with pytest.raises(ConfigError, match="init_from is empty"):
        WarmStart(config_of("")).complete()


def test_only_the_encoder_is_taken_and_it_says_what_is_left(pretrained, capsys):
    config = WarmStart(config_of(pretrained)).complete()
    taken = encoder.load_encoder(pretrained).params
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), {"encoder": taken}
    )
    blank = {"encoder": jax.tree.map(jnp.zeros_like, taken), "head": {"bias": jnp.ones(3)}}
    state = {"step": 0, "params": blank, "target_params": blank}
    start, question = WarmStart(config), Question(("phase",), ("cut", "sew"))
    tuned = build_objective(config, question=question)
    found = start.weights(state, {"params": abstract}, tuned)
    for tree in ("params", "target_params"):
        jax.tree.map(np.testing.assert_array_equal, found[tree]["encoder"], taken)
        assert found[tree]["head"]["bias"].tolist() == [1, 1, 1]
    assert "new: head; left behind: decoder" in capsys.readouterr().out
    with config.unlocked():
        config.model.position = "rope_3d_tiled"
    with pytest.raises(checkpoint.CheckpointError, match="another architecture"):
        start.weights(state, {"params": abstract}, build_objective(config, question=question))


MASKS = [{"blocks": 1, "scale": 0.5, "context": 1, "target": 1}]
PREDICTOR = {"predictor_depth": 1, "predictor_width": 16, "predictor_heads": 2, "masks": MASKS}


@pytest.mark.parametrize(
    "name, options, new, left",
    [("mae", DECODER, "nothing", "nothing"), ("jepa", PREDICTOR, "predictor", "decoder")],
)
def test_pretraining_goes_on_with_what_there_is(pretrained, capsys, name, options, new, left):
    objective = find_objective(name).from_config(ENCODER, options, Compute())
    params = jax.eval_shape(objective.init, jax.random.key(0))
    abstract = {"params": params}
    if objective.uses_target:
        abstract["target_params"] = objective.target_of(params)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), abstract
    )
    state = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), abstract)
    start = WarmStart(config_of(pretrained))
    taken = start.weights(state, abstract, objective)
    said = capsys.readouterr().out
    assert f"new: {new}; left behind: {left}" in said
    ours = encoder.load_encoder(pretrained).params
    for tree in taken:
        jax.tree.map(np.testing.assert_array_equal, taken[tree]["encoder"], ours)
    if name == "jepa":
        assert not any(np.any(x) for x in jax.tree.leaves(taken["params"]["predictor"]))
    with pytest.raises(checkpoint.CheckpointError, match="another architecture"):
        other = dataclasses.replace(ENCODER, norm_eps=1e-5)
        start.weights(state, abstract, find_objective(name).from_config(other, options, Compute()))


def test_a_checkpoint_without_classifier_says_how_to_make_one(pretrained):
    assert load_fitting(pretrained)[1] is None
    with pytest.raises(checkpoint.CheckpointError, match="has no classifier .*configs/finetune.py"):
        load_classifier(pretrained)


def test_the_data_behind_the_weights_stay_known(pretrained, tmp_path):
    seen = {"name": "s", "split": "train", "directory": "d", "records": 1, "fingerprint": "f"}
    meta = {"name": "one", "sources": [seen], "config": {}}
    saved = checkpoint.Checkpoints(tmp_path / "one/checkpoints", keep=1, keep_best=0)
    saved.save(1, {"step": jnp.int32(1)}, meta)
    saved.close()
    config = config_of(tmp_path / "one")
    found = WarmStart(config).sources()
    assert found == [{**seen, "through": str(tmp_path / "one")}]
    config.init_weights = False  # its architecture alone
    assert WarmStart(config).sources() == []

    tuned = {"sources": [seen, *found], "config": {"init_from": "one"}}
    assert lineage.complete(tuned) and lineage.earlier(tuned) == found
    assert not lineage.complete({**tuned, "sources": [seen]})  # of an earlier version
    # A checkpoint that does not say what it was trained on leaves a gap that is told.
    unknown = WarmStart(config_of(pretrained)).sources()
    assert unknown == [{"name": "mae-test", "through": str(pretrained)}]
    assert not lineage.complete({**tuned, "sources": [seen, *unknown]})


@pytest.mark.slow
def test_from_checkpoint_to_the_table(pretrained, tmp_path):
    data_dir = tmp_path / "data"
    build("phantom_surgery", data_dir=data_dir, config=SMALL, num_workers=2, progress=False)
    values = {"data.data_dir": str(data_dir), "classify.ema": True, "classify.frame": "last"}
    values |= {"checkpoint.every": 1, "checkpoint.keep": 2}
    config = config_of(pretrained, **values)
    assert train.train(config, tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 and all(line.get("labelled", 1) == 1 for line in lines)
    again = replay.replay(tmp_path / "run", 2)
    assert again["metrics"]["loss"] == pytest.approx(losses[1], rel=1e-5)
    mean = sum(clip["loss"] for clip in again["clips"]) / len(again["clips"])
    assert mean == pytest.approx(losses[1], rel=1e-5)
    scores = [line for line in lines if "probe/phantom_surgery/phase/balanced_accuracy" in line]
    assert len(scores) == 1
    assert train.train(config, tmp_path / "run")  # complete: the same command does nothing more

    one = load_classifier(tmp_path / "run")
    known, unknown = one.encoder.meta["sources"]
    assert known["split"] == "train" and unknown["through"] == str(pretrained)
    started = json.loads((tmp_path / "run/environment.json").read_text())
    assert [start["sources"] for start in started] == [[known, unknown]] * len(started)
    source = open_source(data_dir, "phantom_surgery", split="val")
    assert one.classes == source.tracks["phase"] and not one.multi_label and one.frame == "last"
    before, after = encoder.load_encoder(pretrained).params, one.encoder.params
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
    assert 0 < max(jax.tree.leaves(moved)) < 0.01  # its average has moved, a little

    splits = {
        s: open_source(data_dir, "phantom_surgery", split=s) for s in ("train", "val", "test")
    }
    phase = Task("phase", "phantom_surgery", "phase", unit="frame")
    tasks = [phase, Task("action", "phantom_surgery", "action")]
    settings = Settings(heads=("linear",), seeds=1, init_seeds=1, clips_per_record=1, resamples=50)
    candidate = Candidate("mine", one.encoder, "here", one)
    found, predictions = probe_sources([candidate], splits, tasks, settings, tmp_path / "probe")
    phase, action = found["tasks"]
    assert set(phase["heads"]["fine-tuned"]) == {"majority", "mine"}
    assert "fine-tuned" not in action["heads"]
    assert set(phase["heads"]["linear"]) == {"majority", "pixels", "random", "mine"}
    rows = predictions["phase/fine-tuned/mine"]
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)
    top1 = (rows[0].argmax(1) == predictions["phase/labels"]).mean()
    assert phase["heads"]["fine-tuned"]["mine"]["metrics"]["top1"] == pytest.approx(top1)

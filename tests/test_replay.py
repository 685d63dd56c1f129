"""Replay: the same numbers as the run had; broken steps break again, or are skipped if allowed."""

import dataclasses
import json
import runpy

import jax
import numpy as np
import pytest

from surgrec_jax import checkpoint, replay, sharding
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import Question, find_objective
from tests.faults import runs

ENCODER = ViTConfig(24, 1, 2, 48, num_frames=2, image_size=(16, 16), patch=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    runs.make_data(folder / "data")
    return folder


def train(folder, name, **changes):
    args = runs.arguments(folder / name, folder / "data", batch_size=8, **changes)
    return runs.finish(folder, args)


@pytest.mark.slow
def test_a_step_replayed_has_the_numbers_it_had(folder, capsys):
    code, said = train(folder, "whole", steps=9, checkpoint__every=4, checkpoint__keep=9)
    assert code == 0, said
    expected = runs.losses(folder / "whole")
    result = replay.replay(folder / "whole", 7)
    assert result["from_step"] == 4 and result["finite"]
    assert result["metrics"]["loss"] == pytest.approx(expected[7], rel=1e-5)
    assert [clip["draw"] for clip in result["clips"]] == list(range(48, 56))
    # The loss of a batch is the mean of its clips' own.
    mean = sum(clip["loss"] for clip in result["clips"]) / 8
    assert mean == pytest.approx(expected[7], rel=1e-5)
    norms = [module["gradients"]["norm"] for module in result["modules"].values()]
    whole = sum(norm**2 for norm in norms) ** 0.5
    assert whole == pytest.approx(result["metrics"]["grad_norm"], rel=1e-4)
    assert replay.main([str(folder / "whole")]) == 1
    assert "no step of" in capsys.readouterr().err


@pytest.mark.slow
def test_a_broken_step_breaks_again_and_goes_on_when_allowed(folder, capsys):
    code, said = train(folder, "broken", steps=6, optim__lr=1e30)
    assert code == 1 and "surgrec_jax.replay" in said and "Traceback" not in said
    assert replay.main([str(folder / "broken"), "--json", str(folder / "out.json")]) == 3
    assert "the step BREAKS" in capsys.readouterr().out
    result = json.loads((folder / "out.json").read_text())
    report = json.loads(
        (folder / "broken" / f"nonfinite-step{result['step']}-process0.json").read_text()
    )
    assert [clip["record"] for clip in result["clips"]] == report["batch"]["record"]
    assert any(module["gradients"]["not_finite"] for module in result["modules"].values())
    code, said = train(folder, "broken", steps=6, optim__lr=1e30, max_nonfinite=9)
    assert code == 0, said
    lines = [json.loads(x) for x in (folder / "broken" / "metrics.jsonl").read_text().splitlines()]
    skipped = [line["step"] for line in lines if "nonfinite" in line]
    assert skipped and skipped[-1] == 6


def test_an_architecture_taken_from_a_checkpoint_is_read_from_the_workdir(tmp_path):
    """As JSON has it, and when the checkpoint is gone: up to where the state is looked for."""
    config = runpy.run_path(str(runs.ROOT / "configs" / "mae.py"))["get_config"]("tiny").to_dict()
    model = dataclasses.asdict(ENCODER) | {"image_size": 16, "preset": "checkpoint"}
    config |= {"init_from": "gone", "model": model}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint before step 3, and began"):
        replay.replay(tmp_path, 3)


def test_labelled_clips_are_looked_at_as_the_step_sees_them():
    options = {"drop_path": 0.0, "erasing": 0.0, "mixing": {"mixup": 0.0, "cutmix": 0.0}}
    question = Question(("phase",), ("a", "b"))
    one = find_objective("classify").from_config(ENCODER, options, Compute(), question=question)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2, 2, 16, 16, 3), np.uint8)
    batch = {"video": video, "label": np.array([[0], [1]])}
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1])):
        state = {"params": jax.jit(one.init)(jax.random.key(0)), "step": 5}
        modules, losses = replay._look(one, state, batch, seed=3)
        keys = replay.train_state.clip_keys(3, 5, 2)
        loss = jax.jit(lambda p: one.loss(p, one.prepare(batch, keys, 5), keys)[0])(state["params"])
    assert np.mean(losses) == pytest.approx(float(loss), rel=1e-5)
    assert modules["head/linear"]["gradients"]["norm"] > 0


@pytest.mark.slow
def test_clips_that_are_compared_have_no_loss_of_their_own():
    """A clip that breaks the batch's loss is named all the same."""
    options = {"local_views": 1, "local_side": 8, "hidden": 8, "outputs": 4, "lines": 4}
    options |= {"global_drop": 0.0, "local_drop": 0.0}
    one = find_objective("levjepa").from_config(ENCODER, options, Compute())
    rng = np.random.default_rng(0)
    batch = {"video": rng.integers(0, 256, (3, 2, 16, 16, 3)).astype(np.float32)}
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1])):
        state = {"params": jax.jit(one.init)(jax.random.key(0)), "step": 5}
        modules, losses = replay._look(one, state, batch, seed=3)
        assert losses == [None] * 3
        assert all(m["gradients"]["not_finite"] == 0 for m in modules.values())
        batch["video"][1] = np.nan
        modules, losses = replay._look(one, state, batch, seed=3)
    assert losses[0] is None and np.isnan(losses[1]) and losses[2] is None
    assert modules["encoder/blocks"]["gradients"]["not_finite"]

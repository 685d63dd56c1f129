"""V-JEPA 2.1 whole: its predictor and its loss against plain torch, there and back again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import cases
from surgrec_jax.convert import ConvertError, ImportOptions, import_file
from surgrec_jax.convert.exporter import export_checkpoint
from surgrec_jax.convert.import_plan import nest
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.models.presets import Compute
from surgrec_jax.objectives import find_objective, masking

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import (  # noqa: E402
    OPTIONS,
    run_levels,
    run_predictor_21,
    save,
    vjepa21_groups,
)

MASKS = (
    {"blocks": 2, "scale": 0.2, "context": 6, "target": 4},
    {"blocks": 1, "scale": 0.5, "context": 4, "target": 6},
)
SECTION = {"masks": MASKS, "predictor_depth": 2, "predictor_width": 24, "predictor_heads": 2}
SECTION |= {"levels": 4, "visible_weight": 0.5, "visible_warmup": (10, 20)}
STRETCH = (1, 15 / 3, 15 / 3)  # rows and columns run from 0 to 15 on any grid


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An imported training file, of whose mask tokens the second serves both kinds of masks."""
    folder = tmp_path_factory.mktemp("vjepa21")
    path = save(folder / "latest.pt", **vjepa21_groups(), epoch=1)
    import_file(path, folder / "run", ImportOptions(**vars(OPTIONS) | {"mask_tokens": (1, 1)}))
    import_file(path, folder / "all", OPTIONS)
    return folder


def test_the_loss_is_that_of_the_original(folder):
    """Hidden tokens, and visible ones over the root of their distance, of four normed levels."""
    model = Model(folder / "run")
    assert model.predictor == {
        "depth": 2,
        "width": 24,
        "heads": 2,
        "num_masks": 2,
        "levels": 4,
        "visible": True,
        "modality": True,
    }
    obj = find_objective("jepa").from_config(model.encoder, SECTION, Compute())
    assert obj.parts() == model.meta["parts"]
    trees, video = nest(model.params), cases.clips(4, 16, 16)
    keys = jax.random.split(jax.random.key(3), 2)

    @jax.jit
    def loss(params, target):
        batch = obj.prepare({"video": jnp.asarray(video)}, keys, 15)  # halfway up: 0.25
        return obj.loss(params, batch, keys, target)

    value, metrics = loss(trees["params"], trees["target_params"])
    groups, x = vjepa21_groups(), torch.from_numpy(cases.pixels(video))
    grid = obj.encoder.grid
    told = run_levels(groups["target_encoder"], x, ref.rope(grid, tiled=False, stretch=STRETCH))
    told = torch.cat([torch.nn.functional.layer_norm(t, t.shape[-1:]) for t in told], -1)
    where, expected, near = ref.coordinates(grid), [], []
    both = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
    for i, mask in enumerate(obj.options.masks):
        pair = masking.multi_block_mask(both[:, i], grid, mask)
        seen, hidden = (torch.from_numpy(np.array(ids)).long() for ids in pair)
        turns = [ref.rope(grid, ids, tiled=False, stretch=STRETCH) for ids in (seen,)]
        context = torch.cat(run_levels(groups["encoder"], x, turns[0], seen), -1)
        turn = ref.rope(grid, torch.cat([seen, hidden], 1), tiled=False, stretch=STRETCH)
        guesses = run_predictor_21(groups["predictor"], context, hidden, 1, turn)
        errors = [
            (guess - torch.gather(told, 1, ids[..., None].expand(-1, -1, told.shape[-1]))).abs()
            for guess, ids in zip(guesses, (hidden, seen), strict=True)
        ]
        distance = torch.cdist(where[seen], where[hidden]).min(-1).values
        expected.append(errors[0].mean())
        near.append((errors[1] / distance.sqrt()[..., None]).mean())
        assert float(metrics[f"loss_mask{i}"]) == pytest.approx(float(expected[-1]), rel=1e-5)
    assert float(metrics["loss_visible"]) == pytest.approx(float(sum(near)) / 2, rel=1e-5)
    whole = float(sum(expected)) / 2 + 0.25 * float(sum(near)) / 2
    assert float(value) == pytest.approx(whole, rel=1e-5)


def test_the_weight_of_visible_tokens_rises_between_two_steps(folder):
    obj = find_objective("jepa").from_config(Model(folder / "run").encoder, SECTION, Compute())
    batch = {"video": np.zeros((2, 1))}
    steps = {0: 0, 10: 0, 12: 0.1, 20: 0.5, 99: 0.5}
    for step, weight in steps.items():
        np.testing.assert_allclose(obj.prepare(batch, None, step)["visible_weight"], weight)


def test_the_file_comes_back_but_for_its_image_branch(folder, tmp_path):
    weights, *_ = export_checkpoint(folder / "all", tmp_path / "out", "vjepa21", whole=True)
    written = torch.load(weights, weights_only=True)
    for name, group in vjepa21_groups().items():
        kept = {key: value for key, value in group.items() if "img" not in key}
        assert written[name].keys() == kept.keys()
        for key, value in kept.items():
            np.testing.assert_array_equal(written[name][key], value)
    again = import_file(weights, tmp_path / "again", OPTIONS)
    assert again["import"]["largest_difference"]


def test_what_leaves_only_as_a_vjepa21_file(folder, tmp_path):
    with pytest.raises(ConvertError, match="no place for four levels: use --format=vjepa21"):
        export_checkpoint(folder / "all", tmp_path, "vjepa2", whole=True)
    with pytest.raises(ConvertError, match="a vjepa21 file holds the norms of four levels"):
        export_checkpoint(folder / "all", tmp_path, "vjepa21")

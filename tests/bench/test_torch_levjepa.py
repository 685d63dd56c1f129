"""bench step: LeVJEPA in PyTorch has the loss and the gradients of ours, for the same draws."""

import jax
import numpy as np
import pytest

from surgrec_jax import commands, sharding
from surgrec_jax.bench import torch_levjepa, torch_step
from surgrec_jax.config.build import build_objective
from surgrec_jax.objectives import levjepa, sigreg, views
from surgrec_jax.safety.errors import ConfigError

torch = pytest.importorskip("torch", reason="the comparison is with torch")

SMALL = ("model.width=32", "model.depth=2", "model.heads=2", "model.mlp_dim=64", "model.patch=16")
SMALL += ("model.image_size=32", "levjepa.local_side=16", "levjepa.hidden=24", "levjepa.lines=16")
CAUSAL = ("model.attention=block_causal", "model.prefix_tokens=1", "model.pooling=cls")
LIKE_THE_PAPER = (*CAUSAL, "model.position=rope_3d_tiled", "levjepa.ema=True")
BATCH = 3


def built(*changes):
    config = commands.load_config("configs/levjepa.py:tiny", [*SMALL, *changes])
    with jax.set_mesh(sharding.make_mesh()):
        return build_objective(config)


def clips_of(objective):
    encoder = objective.encoder
    shape = (BATCH, encoder.num_frames, *encoder.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def tensors(tree):
    return jax.tree.map(lambda x: torch.from_numpy(np.array(x)), tree)


def drawn_of(objective, keys):
    """What ours draws from its keys: of each view, for all clips; and the lines."""
    encoder, options = objective.encoder, objective.options

    def of_view(key, local):
        crop = objective.crops[local]
        box, flip, colour = jax.random.split(jax.random.fold_in(key, levjepa._PIXELS), 3)
        tokens = encoder.grid[0] * (crop.side // encoder.patch) ** 2
        drop = jax.random.fold_in(key, levjepa._DROP)
        drawn = views.draw_colours(colour, options.colours)
        drawn["box"] = views.box(box, *encoder.image_size, crop)
        drawn["flip"] = jax.random.bernoulli(flip, options.flip)
        return drawn | {"ids": views.kept_ids(drop, tokens, objective.kept[local])}

    of_views = jax.vmap(lambda key: jax.random.split(key, 1 + options.local_views))(keys)
    drawn = [
        tensors(jax.vmap(lambda key, local=k > 0: of_view(key, local))(of_views[:, k]))
        for k in range(1 + options.local_views)
    ]
    for of_one in drawn:
        of_one["ids"] = of_one["ids"].long()
    key = jax.random.fold_in(keys[0], levjepa._LINES)
    return drawn, tensors(sigreg.directions(key, options.outputs, options.lines))


def as_torch(params):
    """Parameters, or their gradients, under the names of PyTorch's side."""
    encoder, projector = params["encoder"], params["projector"]
    named = {}

    def put(name, module, layer=...):
        for key, value in module.items():
            array = np.array(value)[layer]
            named[f"{name}.{'bias' if key == 'bias' else 'weight'}"] = (
                array.T if key == "kernel" else array
            )

    put("encoder.patch", encoder["patch_embed"])
    put("encoder.norm", encoder["norm"])
    if "prefix" in encoder:
        named["encoder.prefix.0"] = encoder["prefix"]
    layers = encoder["blocks"]["layers"]
    for i in range(len(layers["norm1"]["scale"])):
        block = f"encoder.blocks.{i}"
        put(f"{block}.norm1", layers["norm1"], i)
        put(f"{block}.norm2", layers["norm2"], i)
        put(f"{block}.qkv", layers["attn"]["qkv"], i)
        put(f"{block}.proj", layers["attn"]["proj"], i)
        put(f"{block}.mlp.0", layers["mlp"]["fc1"], i)
        put(f"{block}.mlp.2", layers["mlp"]["fc2"], i)
    put("projector.0", projector["fc1"])
    put("projector.1", {"scale": projector["scale"], "bias": projector["bias"]})
    put("projector.3", projector["fc2"])
    return {name: torch.from_numpy(np.array(array)) for name, array in named.items()}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [(), LIKE_THE_PAPER], ids=["tiny", "paper"])
def test_the_loss_and_its_gradients_are_ours(changes):
    objective = built(*changes)
    clips = clips_of(objective)
    keys = jax.random.split(jax.random.key(5), BATCH)
    params = objective.init(jax.random.key(1))

    def ours(params):
        return objective.loss(params, {"video": clips}, keys)[0]

    expected, gradients = jax.jit(jax.value_and_grad(ours))(params)
    model, loss_of = torch_levjepa.make(objective, "cpu")
    model.load_state_dict(as_torch(params))
    loss = loss_of(torch.from_numpy(clips), *drawn_of(objective, keys))
    loss.backward()
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    wanted = as_torch(gradients)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_step_is_one_graph_and_copies_nothing():
    objective = built(*LIKE_THE_PAPER)
    clips = torch.from_numpy(clips_of(objective))
    loss_fn, _, after = torch_step.make_loss(objective, "cpu")
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    compiled = torch.compile(loss_fn, fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        losses = [compiled(clips) for _ in range(2)]
    assert [loss.dtype for loss in losses] == [torch.float32] * 2
    assert losses[0] != losses[1]  # other views
    assert graphs["unique_graphs"] - before == 1
    assert torch_step.make_loss(objective, "meta")[0](clips.to("meta")).device.type == "meta"
    after()


def test_another_encoder_is_refused():
    with pytest.raises(ConfigError, match="rotary positions"):
        torch_step.make_loss(built("model.position=sincos_1d"), "cpu")

"""Three optimizer steps from the same weights, batch and masks, here and in torch."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import cases
from convert.test_strict import golden_file
from surgrec_jax import optim, train_state
from surgrec_jax.convert.import_plan import ImportOptions, nest
from surgrec_jax.convert.importer import import_file
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.models.presets import Compute
from surgrec_jax.objectives import find_objective, masking
from surgrec_jax.objectives.masking import BlockMask

torch = pytest.importorskip("torch", reason="torch's losses need torch==2.13.0")
transformers = pytest.importorskip("transformers", reason="torch's losses need transformers")

SEED, STEPS, LR = 3, 3, 1e-3
VIDEO = cases.clips(4, 16, 16, batch=4)


def our_losses(objective, params, target=None, *, b2, decay, momentum=None):
    """Losses of the first steps by the trainer's own step function."""
    lr = optim.warmup_constant(LR, LR, LR, 0, 10)
    tx = optim.AdamW(
        lr=lr,
        weight_decay=optim.cosine(decay, decay, 10),
        decayed=objective.decayed,
        b1=0.9,
        b2=b2,
        clip_norm=0.0,
        clip_per_module=False,
    ).build()
    params = jax.tree.map(jnp.asarray, params)
    state = {
        "step": jnp.zeros((), jnp.int32),
        "params": params,
        "opt_state": jax.jit(tx.init)(params),
    }
    if target is not None:
        state["target_params"] = jax.tree.map(jnp.asarray, target)
    step = train_state.make_train_step(objective, tx, seed=SEED, momentum=momentum)
    # Most of the time goes into compiling it.
    step = jax.jit(step, compiler_options={"xla_llvm_disable_expensive_passes": True})
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, {"video": jnp.asarray(VIDEO)})
        losses.append(float(metrics["loss"]))
    return losses


def adamw(model, b2, decay, exempt=()):
    """torch's AdamW with the recipes' exemptions: vectors, biases and `exempt`."""
    groups = [{"params": [], "weight_decay": decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        one = parameter.ndim == 1 or name.endswith(".bias") or name in exempt
        groups[int(one)]["params"].append(parameter)
    return torch.optim.AdamW(groups, lr=LR, betas=(0.9, b2), eps=1e-8)


def agree(ours, theirs):
    assert len(set(np.round(theirs, 4))) == STEPS  # it does move
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_mae_follows_torch(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_videomae")
    import_file(folder, tmp_path / "run")
    model = Model(tmp_path / "run")
    decoder = {f"decoder_{k}": v for k, v in model.decoder.items()}
    options = decoder | {"mask_ratio": 0.75}
    objective = find_objective("mae").from_config(model.encoder, options, Compute())
    ours = our_losses(objective, nest(model.params)["params"], b2=0.95, decay=0.05)

    torch_model = transformers.VideoMAEForPreTraining.from_pretrained(folder)
    torch_model.decoder.norm.eps = 1e-6
    torch_model.train()
    optimizer = adamw(torch_model, 0.95, 0.05, exempt=("mask_token",))
    theirs = []

    @jax.jit
    def hidden_ids(step):
        keys = jax.vmap(jax.random.split)(train_state.clip_keys(SEED, step, len(VIDEO)))
        return masking.tube_mask(keys[:, 0], model.encoder.grid, 0.75)[1]

    for step in range(STEPS):
        hidden = torch.from_numpy(np.array(hidden_ids(jnp.int32(step)), np.int64))
        masked = torch.zeros(len(VIDEO), 32, dtype=torch.bool).scatter(1, hidden, True)
        loss = torch_model(torch.from_numpy(cases.pixels(VIDEO)), bool_masked_pos=masked).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        theirs.append(loss.item())
    agree(ours, theirs)


def gather(x, ids):
    return torch.gather(x, 1, ids[..., None].expand(-1, -1, x.shape[-1]))


def context_tokens(model, x, ids):
    """transformers' encoder as training runs it: over the visible tokens only."""
    x = gather(model.encoder.embeddings(x), ids)
    for layer in model.encoder.layer:
        x = layer(x, ids)[0]
    return model.encoder.layernorm(x)


def predict(model, context, seen, hidden, number):
    x, ids = model.predictor.embeddings(context, [seen], [hidden], mask_index=number)
    for layer in model.predictor.layer:
        x = layer(x, ids)[0]
    return model.predictor.proj(model.predictor.layernorm(x)[:, seen.shape[1] :])


@pytest.mark.slow
def test_jepa_follows_torch(tmp_path):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run", ImportOptions(mask_tokens=(0, 1)))
    model = Model(tmp_path / "run")
    masks = [
        {"blocks": 2, "scale": 0.2, "context": 6, "target": 3},
        {"blocks": 1, "scale": 0.5, "context": 4, "target": 5},
    ]
    sizes = {f"predictor_{k}": v for k, v in model.predictor.items() if k != "num_masks"}
    objective = find_objective("jepa").from_config(
        model.encoder, sizes | {"masks": masks}, Compute()
    )
    trees = nest(model.params)
    params = {k: v for k, v in trees["params"].items() if k != "head"}
    momentum = objective.target_momentum({"momentum": 0.9, "end_momentum": 0.9}, 10)
    options = {"b2": 0.999, "decay": 0.04, "momentum": momentum}
    ours = our_losses(objective, params, trees["target_params"], **options)

    torch_model = transformers.VJEPA2ForVideoClassification.from_pretrained(folder).vjepa2
    target = copy.deepcopy(torch_model.encoder)
    optimizer = adamw(torch_model, 0.999, 0.04)
    x = torch.from_numpy(cases.pixels(VIDEO))
    theirs = []

    @jax.jit
    def ids_of(step):
        keys = train_state.clip_keys(SEED, step, len(VIDEO))
        keys = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
        grid = model.encoder.grid
        return [
            masking.multi_block_mask(keys[:, number], grid, BlockMask(**mask))
            for number, mask in enumerate(masks)
        ]

    for step in range(STEPS):
        drawn = ids_of(jnp.int32(step))
        with torch.no_grad():
            wanted = target(x).last_hidden_state
            wanted = torch.nn.functional.layer_norm(wanted, wanted.shape[-1:])
        losses = []
        for number, ids in enumerate(drawn):
            seen, hidden = (torch.from_numpy(np.array(i, np.int64)) for i in ids)
            context = context_tokens(torch_model, x, seen)
            predicted = predict(torch_model, context, seen, hidden, number)
            losses.append((predicted - gather(wanted, hidden)).abs().mean())
        loss = sum(losses) / len(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(target.parameters(), torch_model.encoder.parameters(), strict=True):
                old.mul_(0.9).add_(new, alpha=0.1)
        theirs.append(loss.item())
    agree(ours, theirs)

"""The choice, by name, of what a layer keeps of its forward pass for the backward pass."""

from collections.abc import Callable

import jax

from surgrec_jax import sharding
from surgrec_jax.models.attention import RESULT_NAME
from surgrec_jax.safety.errors import ConfigError

# Activations that have a name, in the order in which a block makes them, with their width in
# units of D: the block's input (1), queries, keys and values (3), the result of attention (1), and
# the MLP's hidden layer before its activation (mlp_dim / D, usually 4).
LAYER, QKV, HIDDEN = "layer", "qkv", "hidden"
NAMES = (LAYER, QKV, RESULT_NAME, HIDDEN)

_policies = jax.checkpoint_policies


def _all_but_gathered(primitive, *_, **params) -> bool:
    """Keeps everything but a layer's whole weights: neither under their name, nor before it."""
    # sharding.gather is a custom_vjp, which policies cannot tell from others; attention, the other
    # one, has its result kept by name.
    if primitive.name == "sharding_constraint" or primitive.name.startswith("custom_vjp_call"):
        return False
    return params.get("name") != sharding.GATHERED


def _named(*names: str) -> Callable:
    """Keeps activations by name. What cuDNN's attention gives, and its row sums, have none."""

    def keeps(primitive, *_, **params) -> bool:
        if primitive.name.startswith("dot_product_attention_fwd"):
            return RESULT_NAME in names
        return primitive.name == "name" and params["name"] in names

    return keeps


POLICIES = {
    # Everything; under a mesh that splits parameters, all but the gathered weights.
    "none": _all_but_gathered,
    # Nothing but the layer's input: the forward pass is computed twice.
    "full": _policies.nothing_saveable,
    # Results of matrix products with weights, and of attention: only cheap work is done again.
    "dots": _policies.save_from_both_policies(
        _policies.dots_with_no_batch_dims_saveable,
        _named(RESULT_NAME),
    ),
}


def apply(text: str, body: Callable, *, in_loop: bool) -> Callable:
    """A layer's function, with what it keeps for the backward pass as a text says.

    Args:
        text: see `policy`.
        in_loop: whether it is the body of a loop, which by itself keeps the compiler from merging
            the two forward passes.
    """
    if text == "none" and sharding.fsdp_size() == 1:
        return body
    return jax.checkpoint(body, policy=policy(text), prevent_cse=not in_loop)


def policy(text: str) -> Callable:
    """The rematerialisation policy of a text.

    Args:
        text: "none", "full", "dots", "names:A,B" (keeps the named activations on the device), or
            "offload:A,B" (keeps them in the host's memory). Activations: see NAMES.

    Raises:
        ConfigError: anything else.
    """
    if text in POLICIES:
        return POLICIES[text]
    kind, _, listed = text.partition(":")
    names = [name.strip() for name in listed.split(",")]
    if kind not in ("names", "offload") or not set(names) <= set(NAMES):
        raise ConfigError(
            f"compute.remat={text!r}: choose from ({', '.join(map(repr, POLICIES))}), or "
            f"'names:...' or 'offload:...' with some of {','.join(NAMES)}"
        )
    if kind == "names":
        return _named(*names)
    return _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=names,
        offload_src="device",
        offload_dst="pinned_host",
    )

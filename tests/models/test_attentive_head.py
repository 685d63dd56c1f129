"""The attentive head against attention written out."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.presets import Compute, ViTConfig


def test_single_query_attention_equals_keys_and_values_written_out():
    config = ViTConfig(width=12, depth=1, heads=3, mlp_dim=24)
    head = make_head(HeadConfig("attentive", 5, 0, 3, 24), config, Compute(), nnx.Rngs(0))
    rng = np.random.default_rng([0])
    # Every bias and scale something else than its initial 0 or 1.
    state = nnx.state(head, nnx.Param)
    nnx.update(head, jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), state))
    tokens = (3 * rng.standard_normal((2, 7, 12)) + 2).astype(np.float32)

    np.testing.assert_allclose(
        nnx.jit(lambda head, x: head(x))(head, tokens),
        nnx.jit(written_out)(head, tokens),
        rtol=2e-4,
        atol=2e-4,
    )


def written_out(head, tokens):
    x = head.norm1(tokens)
    k, v = jnp.moveaxis(head.cross.kv(x).reshape(2, 7, 2, 3, 4), 2, 0)
    q = head.cross.q(head.query[...]).reshape(3, 4)
    weights = jax.nn.softmax(jnp.einsum("hs,bnhs->bhn", q, k) / 2, axis=-1)
    pooled = head.query[...][0] + jnp.einsum("bhn,bnhs->bhs", weights, v).reshape(2, 12)
    return head.linear(pooled + head.mlp(head.norm2(pooled)))

"""The probes' heads in PyTorch, as its users write them: what `bench probe` compares with."""

from typing import Any

import numpy as np

from surgrec_jax.models.heads import HeadConfig


def make(head: HeadConfig, init: dict[str, Any]) -> Any:
    """A torch module with given initial weights (a pure dict of `models.heads`).

    Matrices are parameters called `weight_t`, [in, out] as here; only they decay.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Dense(nn.Module):
        def __init__(self, values: dict[str, Any]):
            super().__init__()
            self.weight_t = nn.Parameter(torch.from_numpy(np.array(values["kernel"])))
            self.bias = nn.Parameter(torch.from_numpy(np.array(values["bias"])))

        def forward(self, x):
            return F.linear(x, self.weight_t.T, self.bias)

    class Norm(nn.LayerNorm):
        def __init__(self, values: dict[str, Any]):
            super().__init__(len(values["scale"]), eps=head.norm_eps)

    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Parameter(torch.from_numpy(np.array(init["query"])))
            self.norm1, self.norm2 = Norm(init["norm1"]), Norm(init["norm2"])
            self.q, self.kv = Dense(init["cross"]["q"]), Dense(init["cross"]["kv"])
            self.fc1, self.fc2 = Dense(init["mlp"]["fc1"]), Dense(init["mlp"]["fc2"])
            self.linear = Dense(init["linear"])

        def forward(self, x):
            b, n, d = x.shape
            size = d // head.heads
            query = self.query.expand(b, -1, -1)
            q = self.q(query).view(b, 1, head.heads, size).transpose(1, 2)
            kv = self.kv(self.norm1(x)).view(b, n, 2, head.heads, size)
            k, v = kv.permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 1, d)
            pooled = query + seen
            pooled = pooled + self.fc2(F.gelu(self.fc1(self.norm2(pooled))))
            return self.linear(pooled[:, 0])

    return Attentive() if head.kind == "attentive" else Dense(init["linear"])

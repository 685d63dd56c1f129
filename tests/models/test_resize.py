"""Learned position tables at another size, as the code resizes them that they come from."""

import numpy as np
import pytest
from convert import cases

from surgrec_jax.models.resize import resize_table

torch = pytest.importorskip("torch", reason="compared with torch's bicubic")


@pytest.mark.parametrize("new", [(3, 9), (7, 7), (2, 4)])
@pytest.mark.parametrize("how", ["antialiased", "plain", "offset"])
def test_bicubic_is_torchs(how, new):
    table = cases.weight("table", (1 + 16, 6))
    cells = torch.from_numpy(table[1:]).reshape(1, 4, 4, 6).permute(0, 3, 1, 2)
    if how == "offset":
        options = {"scale_factor": tuple((n + 0.1) / 4 for n in new)}
    else:
        options = {"size": new, "antialias": how == "antialiased"}
    theirs = torch.nn.functional.interpolate(cells, mode="bicubic", **options)
    ours = resize_table(table, (4, 4), new, how)
    np.testing.assert_array_equal(ours[0], table[0])
    theirs = theirs.permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    np.testing.assert_allclose(ours[1:], theirs, atol=1e-6)


def test_the_same_grid_is_left_alone():
    table = cases.weight("table", (1 + 16, 6))
    assert resize_table(table, (4, 4), (4, 4), "offset") is table

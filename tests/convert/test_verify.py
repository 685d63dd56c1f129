"""References are made and compared on the CPU, whatever the machine computes on."""

import jax

from convert import cases
from surgrec_jax.convert import verify
from surgrec_jax.convert.import_plan import nest, part_shapes
from surgrec_jax.models.attention import SPLASH_FROM
from surgrec_jax.models.presets import ViTConfig


def test_on_a_machine_with_a_tpu(tmp_path, monkeypatch):
    """Kernels would be a TPU's for so many tokens, and NumPy parameters go where JAX computes."""
    config = ViTConfig(8, 1, 1, 8, num_frames=2, image_size=(128, 128), patch=4)
    assert config.num_tokens >= SPLASH_FROM
    params = nest(cases.state(part_shapes("encoder", config)))
    finish, where = verify._finish, []
    monkeypatch.setattr(verify, "_finish", lambda c, p, x: where.append(x) or finish(c, p, x))
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with jax.default_device(jax.devices("cpu")[1]):
        verify.record(tmp_path / "a.npz", config, params)
    assert where[0].devices() == {jax.devices("cpu")[0]}
    assert verify.check(tmp_path / "a.npz", config, params) < 1e-6

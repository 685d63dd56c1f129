"""A frozen encoder: what it takes, and what it says to anything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax import load_encoder
from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.sharding import filled


def encoder_of(height, width):
    config = ViTConfig(16, 1, 2, 32, num_frames=4, image_size=(height, width), patch=8)
    params = jax.jit(lambda key: init_encoder(config, key))(jax.random.key(0))
    return Encoder(config, params, fps=4.0, name="ours", batch_size=2)


@pytest.fixture(scope="module")
def encoder():
    return encoder_of(8, 16)


def test_any_number_of_clips(encoder):
    video = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 16, 3), dtype=np.uint8)
    features = encoder.features(video)
    assert features.shape == (3, 16) and features.dtype == np.float32
    np.testing.assert_allclose(features[2:], encoder.features(video[2:]), atol=1e-6)
    np.testing.assert_array_equal(features, encoder.features(jnp.asarray(video)))
    assert encoder.features(video[:0]).shape == (0, 16)


def test_a_batch_is_filled_up_to_few_sizes():
    assert [filled(n, 32) for n in (0, 1, 2, 3, 5, 9, 17, 32)] == [1, 1, 2, 4, 8, 16, 32, 32]
    assert [filled(n, 24, 8) for n in (1, 8, 9, 17, 24)] == [8, 8, 16, 24, 24]
    assert filled(5, 6) == 6  # no more than a whole batch


def test_how_clips_are_encoded_is_chosen_when_loading():
    for wrong, said in (
        ({"batch_size": 0}, "batch_size=0: give at least 1"),
        ({"dtype": "float16"}, "dtype='float16': choose from"),
        ({"dtype": "float32", "compute": Compute()}, "give dtype or compute, not both"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_encoder("nowhere", **wrong)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda v: v.astype(np.float32), r"not float32 \[2, 4, 8, 16, 3\]"),
        (lambda v: v[0], r"not uint8 \[4, 8, 16, 3\]"),
        (lambda v: v[:, :3], r"not uint8 \[2, 3, 8, 16, 3\]"),
        (lambda v: v.transpose(0, 1, 4, 2, 3), r"not uint8 \[2, 4, 3, 8, 16\]"),
        (list, "as a NumPy array, not a list"),
        (lambda v: "clip.mp4", "as a NumPy array, not a str"),
    ],
)
def test_anything_else_is_refused(encoder, change, said):
    video = np.zeros((2, 4, 8, 16, 3), np.uint8)
    with pytest.raises(ValueError, match=r"ours takes uint8 clips \[B, 4, 8, 16, 3\].*" + said):
        encoder.features(change(video))


def test_a_clip_is_square_where_one_side_is_asked_for(encoder):
    with pytest.raises(ValueError, match="8 x 16 pixels, where square ones are wanted"):
        _ = encoder.clip


def test_files_of_other_projects_are_imported_first(tmp_path):
    for name in ("model.safetensors", "model-00001-of-00002.safetensors", "vitl.pth", "latest.pt"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / name).write_bytes(b"")
        for path in (folder, folder / name):
            with pytest.raises(CheckpointError, match=f"surgrec_jax.convert import {path} --out W"):
                load_encoder(path)

"""Two small sources, embedded once by a random encoder."""

import sys
from pathlib import Path

import jax
import pytest

from surgrec_jax.curation.embed import Named, embed
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models.presets import preset
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.records.source import open_source

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
from tests.data.small_corpus import example, write_source

RECORDS = {"alpha": 20, "beta": 6}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number, (name, records) in enumerate(RECORDS.items()):
        write_source(
            folder, name, [example(name, number, r, 24, 8.0, 3.0 * r) for r in range(records)]
        )
    return folder


@pytest.fixture(scope="session")
def sources(data_dir):
    return [Named(f"{name}@train", open_source(data_dir, name)) for name in RECORDS]


@pytest.fixture(scope="session")
def encoder():
    config = preset("Ti", num_frames=2, image_size=(32, 32), width=32, depth=1, heads=2, mlp_dim=32)
    params = init_encoder(config, jax.random.key(0))
    return Encoder(config, params, fps=4.0, name="tiny", batch_size=8)


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory, sources, encoder):
    folder = tmp_path_factory.mktemp("embeddings")
    embed(encoder, "RUN", sources, folder, shard_records=8)
    return Embeddings(folder)

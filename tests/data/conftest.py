"""A corpus of three small sources."""

import pytest

from surgrec_jax.records.source import open_source
from tests.data.small_corpus import Corpus, example, write_source


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """Three sources of unequal size; record 5 of the first is short (3 frames)."""
    data_dir = tmp_path_factory.mktemp("corpus")
    spec = {"alpha": (20, 24, 8.0), "beta": (6, 24, 8.0), "gamma": (3, 12, 5.0)}
    for number, (name, (records, frames, fps)) in enumerate(spec.items()):
        examples = [
            example(name, number, r, 3 if (name, r) == ("alpha", 5) else frames, fps, 3.0 * r)
            for r in range(records)
        ]
        write_source(data_dir, name, examples)
    return Corpus(data_dir, spec)


@pytest.fixture(scope="session")
def sources(corpus):
    return [open_source(corpus.data_dir, name) for name in corpus.spec]

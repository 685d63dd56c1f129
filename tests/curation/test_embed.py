"""Embeddings: right rows, resumable, the same whoever makes them, and damage that is named."""

import json
import shutil

import jax
import numpy as np
import pytest

from surgrec_jax.curation.embed import embed
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.data.loading.clips import ClipSpec
from surgrec_jax.data.loading.pipeline import eval_clips
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.safety.errors import DataError


@pytest.fixture
def copy(embeddings, tmp_path):
    return shutil.copytree(embeddings.folder, tmp_path / "copy")


def test_a_row_is_the_encoder_on_the_records_clip(embeddings, sources, encoder):
    frames, size, fps = encoder.clip
    clip = ClipSpec(frames=frames, fps=fps, size=size, crop="center")
    expected = [
        encoder.features(batch["video"])
        for named in sources
        for batch in eval_clips(named.source, clip, batch_size=8)
    ]
    got = embeddings.block(0, len(embeddings))
    assert got.dtype == np.float16 and got.shape == (26, 32)
    np.testing.assert_allclose(got, np.concatenate(expected), atol=2e-3)
    np.testing.assert_array_equal(embeddings.block(5, 23), got[5:23])  # over three shards
    rows = np.array([25, 0, 19, 20, 7, 8, 0])
    np.testing.assert_array_equal(embeddings.take(rows), got[rows])


def test_facts_are_those_of_the_records(embeddings, sources):
    facts = embeddings.facts()
    records = [n.source.record(r) for n in sources for r in range(len(n.source))]
    assert facts.domain.tolist() == [r.domain for r in records]
    assert facts.source.tolist() == [0] * 20 + [1] * 6
    names = [f"{n.name}:{r.case_id}" for n in sources for r in _records(n)]
    assert [facts.cases[c] for c in facts.case] == names
    assert facts.labels["skill"].tolist() == [r.video_labels["skill"] for r in records]


def _records(named):
    return [named.source.record(r) for r in range(len(named.source))]


def test_several_clips_are_averaged(sources, encoder, tmp_path):
    embed(encoder, "RUN", sources[1:], tmp_path, clips_per_record=3)
    frames, size, fps = encoder.clip
    clip = ClipSpec(frames=frames, fps=fps, size=size, crop="center")
    with eval_clips(sources[1].source, clip, clips_per_record=3) as batches:
        expected = np.concatenate([encoder.features(b["video"]) for b in batches])
    got = Embeddings(tmp_path).block(0, 6)
    np.testing.assert_allclose(got, expected.reshape(6, 3, -1).mean(1), atol=2e-3)


def test_a_stopped_run_goes_on_and_processes_make_the_same_bytes(
    embeddings, sources, encoder, copy, tmp_path
):
    names = sorted(p.name for p in copy.glob("*.npy"))
    assert names == ["00000.npy", "00001.npy", "00002.npy", "00003.npy"]
    kept = (copy / names[0]).stat().st_mtime_ns
    for lost in names[1:3]:
        (copy / lost).unlink()
    with pytest.raises(FileNotFoundError, match=r"00001.npy is not made yet"):
        Embeddings(copy)
    assert embed(encoder, "RUN", sources, copy, shard_records=8) > 0
    assert embed(encoder, "RUN", sources, copy, shard_records=8) is None
    assert (copy / names[0]).stat().st_mtime_ns == kept
    apart = tmp_path / "apart"
    for process in (1, 0):
        embed(encoder, "RUN", sources, apart, shard_records=8, process_index=process,
              process_count=2)  # fmt: skip
    for name in names:
        whole = (embeddings.folder / name).read_bytes()
        assert (copy / name).read_bytes() == whole and (apart / name).read_bytes() == whole


def test_other_inputs_are_refused_by_name(sources, encoder, copy):
    with pytest.raises(DataError, match=r"another clip: per_record 1, now 2"):
        embed(encoder, "RUN", sources, copy, shard_records=8, clips_per_record=2)
    params = jax.tree.map(lambda x: 2 * x, encoder.params)
    other = Encoder(encoder.config, params, fps=encoder.fps, name=encoder.name, batch_size=8)
    with pytest.raises(DataError, match=r"another encoder: fingerprint '\w+', now '\w+'"):
        embed(other, "RUN", sources, copy, shard_records=8)
    index = json.loads((copy / "index.json").read_text())
    index["sources"][1]["fingerprint"] = "0"
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"another sources: beta@train fingerprint '0', now"):
        embed(encoder, "RUN", sources, copy, shard_records=8)


def test_another_spelling_of_the_checkpoints_path_is_the_same_encoder(sources, encoder, copy):
    before = Embeddings(copy).hash
    assert embed(encoder, "/elsewhere/RUN/", sources, copy, shard_records=8) is None
    path = copy / "index.json"
    path.write_text(path.read_text().replace('"RUN"', '"/elsewhere/RUN/"'))
    moved = Embeddings(copy)
    assert moved.index["encoder"]["checkpoint"] == "/elsewhere/RUN/" and moved.hash == before
    path.write_text(path.read_text().replace(encoder.fingerprint, "0"))
    assert Embeddings(copy).hash != before


def test_damaged_files_are_named(copy):
    path = copy / "00002.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-64])
    with pytest.raises(DataError, match=r"00002.npy is damaged or shorter than its header"):
        Embeddings(copy)
    np.save(path, np.load(copy / "00001.npy")[:3])
    with pytest.raises(DataError, match=r"first missing record is 19 of alpha@train"):
        Embeddings(copy)
    path.write_bytes(whole)
    facts = copy / "00001.facts.npz"
    facts.write_bytes((copy / "00000.facts.npz").read_bytes())
    with pytest.raises(DataError, match=r"00001.facts.npz is not about records 8 to 15"):
        Embeddings(copy).facts()
    (copy / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index.json is not JSON"):
        Embeddings(copy)

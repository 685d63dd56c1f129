"""Manifests: what training draws from them, and every way in which they can be bad."""

import copy
import dataclasses
import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax import inputs
from surgrec_jax.curation import mixing, report
from surgrec_jax.curation.cluster import Tree
from surgrec_jax.data.sampling.manifest import content_hash, order_path, read_manifest
from surgrec_jax.safety.errors import ConfigError, DataError

LEAF = np.repeat([0, 1, 2], [15, 9, 2])


def make(path, embeddings, balance=None, tree=True, **kwargs):
    paths = np.array([[0, 0], [0, 1], [1, 2]], np.int32)
    found = Tree(LEAF.astype(np.int32), np.arange(26.0), paths, np.zeros((3, 2)), 0.0)
    return mixing.make_manifest(
        path,
        embeddings,
        found if tree else None,
        balance or mixing.Balance(),
        facts=embeddings.facts(),
        planned_draws=kwargs.pop("planned_draws", 4000),
        source_weights=kwargs.pop("source_weights", None),
        inputs={},
    )


@pytest.fixture
def made(embeddings, tmp_path):
    return make(tmp_path / "m.json", embeddings)


def rewrite(path, **changes):
    """Changes a manifest as a program would that signs what it writes."""
    content = json.loads(path.read_text()) | changes
    content["hash"] = content_hash(content)
    path.write_text(json.dumps(content))


def test_draws_have_the_weights_of_the_tree(made, embeddings):
    manifest, leaves = made
    weights = [0.25, 0.25, 0.5]
    assert manifest.stages[0][1].tolist() == weights
    assert leaves.levels == ("2 clusters", "3 clusters")
    draws = manifest.sampler(seed=3).draws(np.arange(4000))
    row = manifest.leaves.offsets[draws.source] + draws.record
    np.testing.assert_array_equal(LEAF[row], draws.leaf)
    per_block = np.stack([np.bincount(b, minlength=3) for b in draws.leaf.reshape(-1, 1000)])
    assert (per_block == [250, 250, 500]).all()
    counts = np.bincount(row, minlength=26)
    assert counts[24:].tolist() == [1000, 1000] and np.ptp(counts[:15]) <= 1
    # Leaf 1 has 5 records of alpha and 4 of beta, leaf 2 two of beta.
    share = manifest.content["source_shares"][0]
    assert share["alpha@train"] == pytest.approx(0.25 + 0.25 * 5 / 9)
    plan = report.plan_draws(manifest, leaves, 4000)
    assert plan.of_record.sum() == pytest.approx(4000)
    np.testing.assert_allclose(plan.of_record, np.array(weights)[LEAF] * 4000 /
                               np.bincount(LEAF)[LEAF])  # fmt: skip
    said = report.verdict(manifest, plan, embeddings.facts())
    assert re.match(r"The draws are \w+ even over domains .*, and \w+ even over cases than", said)
    assert said.endswith("record comes 1,000 times, with equal weights each would 154.")


def test_groups_curriculum_caps_and_record_weights(embeddings, tmp_path):
    path = tmp_path / "m.json"
    sources, _ = make(path, embeddings, mixing.Balance(group="source"), tree=False)
    share = np.array([20**0.5, 6**0.5]) / (20**0.5 + 6**0.5)
    np.testing.assert_allclose(sources.stages[0][1], share)
    given, _ = make(path, embeddings, mixing.Balance(group="source"), False, source_weights=[1, 3])
    np.testing.assert_allclose(given.stages[0][1], [0.25, 0.75])
    domains, leaves = make(
        path, embeddings, mixing.Balance(group="domain", group_temperature=0.0, temperature=1.0)
    )
    assert leaves.levels == ("domain", "2 clusters", "3 clusters")
    np.testing.assert_allclose(domains.stages[0][1], [15 / 40, 5 / 40, 4 / 12, 2 / 12])
    staged, _ = make(path, embeddings, mixing.Balance(curriculum=((0, 1.0), (5000, 0.0))))
    assert [first for first, _ in staged.stages] == [0, 5000]
    got = staged.sampler(0).counts(6000) - staged.sampler(0).counts(5000)
    assert got.tolist() == [250, 250, 500]
    capped, _ = make(path, embeddings, mixing.Balance(max_repeats=200.0))
    np.testing.assert_allclose(capped.stages[0][1], [0.45, 0.45, 0.1])
    weights = np.ones(26)
    weights[[0, 25]] = 3, 0
    np.save(tmp_path / "w.npy", weights)
    heavy, _ = make(path, embeddings, mixing.Balance(record_weights=str(tmp_path / "w.npy")))
    draws = heavy.sampler(0).draws(np.arange(8000))
    counts = np.bincount(heavy.leaves.offsets[draws.source] + draws.record, minlength=26)
    assert counts[25] == 0 and counts[0] / counts[1] == pytest.approx(11 / 4, rel=0.01)  # of mean 4


@pytest.mark.parametrize(
    ("weight", "smallest", "least"),
    # Stands 11 times in its leaf beside the other's 4: the leaf is drawn 15 / 11 as often as it.
    [(None, 2, "153.8"), (1, 2, "153.8"), (3, 15 / 11, "157.7")],
)
def test_a_cap_holds_for_the_heaviest_record(embeddings, tmp_path, weight, smallest, least):
    """`weight`: of one of the two records of the smallest leaf, the other 25 have 1."""
    file = ""
    if weight:
        file = str(tmp_path / "w.npy")
        np.save(file, np.where(np.arange(26) == 25, weight, 1))
    balance = mixing.Balance(max_repeats=200.0, record_weights=file)
    manifest, leaves = make(tmp_path / "m.json", embeddings, balance)
    share = smallest * 200 / 4000
    np.testing.assert_allclose(manifest.stages[0][1], [0.55 - share, 0.45, share])
    drawn = report.plan_draws(manifest, leaves, 4000).of_record
    assert drawn.max() == pytest.approx(200, rel=2e-3) == drawn[25]  # shares of whole blocks
    with pytest.raises(ValueError, match=f"max_repeats=100: .* drawn {least} times at least"):
        make(tmp_path / "m.json", embeddings, dataclasses.replace(balance, max_repeats=100.0))


def test_where_the_checkpoint_lies_is_not_in_the_hash(made, embeddings, tmp_path):
    moved = copy.copy(embeddings)
    encoder = embeddings.index["encoder"] | {"checkpoint": "/elsewhere/RUN/"}
    moved.index = embeddings.index | {"encoder": encoder}
    assert make(tmp_path / "moved/m.json", moved)[0].hash == made[0].hash
    encoder["fingerprint"] = "0"
    assert make(tmp_path / "moved/m.json", moved)[0].hash != made[0].hash


def config(data_dir, manifest, sources="alpha,beta"):
    """configs/mae.py:tiny on the small sources."""
    c = runpy.run_path(str(Path(__file__).parents[2] / "configs" / "mae.py"))["get_config"]("tiny")
    c.data.sources, c.data.data_dir, c.data.manifest = sources, str(data_dir), str(manifest)
    c.data.num_threads = 0
    c.model.num_frames, c.model.image_size, c.batch_size, c.seed = 2, 32, 8, 3
    return c


def test_training_batches_follow_the_manifest(made, data_dir, tmp_path):
    c = config(data_dir, made[0].path)
    sources = inputs.open_sources(c)
    manifest = inputs.open_manifest(c, sources)
    with inputs.training_batches(c, sources, 2, 6, manifest) as batches:
        got = [(b["source"].tolist(), b["record"].tolist()) for b in batches]
    draws = made[0].sampler(3).draws(np.arange(16, 48))
    assert [s for b in got for s in b[0]] == draws.source.tolist()
    assert [r for b in got for r in b[1]] == draws.record.tolist()
    manifest.keep_copy(tmp_path, write=True)
    manifest.keep_copy(tmp_path, write=True)
    assert json.loads((tmp_path / "manifest.json").read_text())["hash"] == manifest.hash
    rewrite(made[0].path, stages=[{"first_draw": 0, "weights": [1, 1, 1]}])
    with pytest.raises(DataError, match=r"was begun with another manifest \(hash "):
        inputs.open_manifest(c, sources).keep_copy(tmp_path, write=True)
    other = inputs.open_manifest(c, sources)
    other.keep_copy(tmp_path, write=True, begun=False)  # nothing was drawn by the first one
    assert json.loads((tmp_path / "manifest.json").read_text())["hash"] == other.hash


def test_other_or_rebuilt_data_is_refused(made, data_dir):
    path = made[0].path

    def open_it(sources="alpha,beta"):
        c = config(data_dir, path, sources)
        inputs.open_manifest(c, inputs.open_sources(c))

    with pytest.raises(DataError, match=r"give --config.data.sources=alpha@train,beta@train"):
        open_it("beta,alpha")
    with pytest.raises(ConfigError, match="has weights and so has data.manifest"):
        open_it("alpha=1,beta=2")
    described = made[0].content["sources"]
    rewrite(path, sources=[described[0], described[1] | {"fingerprint": "f" * 64}])
    with pytest.raises(DataError, match=r"other data of beta@train: .* was rebuilt"):
        open_it()
    rewrite(path, sources=[described[0] | {"records": 23}, described[1]])
    with pytest.raises(DataError, match=r"names record 20 of alpha@train, which no longer"):
        open_it()


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1, -0.5, -1], r"m.json: weights from draw 0: entry 1 \(leaf 1\) is negative: -0.5"),
        ([1, 1, float("nan")], r"m.json: weights from draw 0: entry 2 \(leaf 2\) is not finite"),
        ([float("inf"), 1, 1], r"m.json: weights from draw 0: entry 0 \(leaf 0\) is not finite"),
        ([0, 0, 0], r"m.json: weights from draw 0: all 3 entries are zero"),
        ([1, 1], r"m.json: weights from draw 0: expected one weight for each of 3 leaves, got 2"),
    ],
)
def test_bad_weights_name_file_and_entry(made, weights, complaint):
    rewrite(made[0].path, stages=[{"first_draw": 0, "weights": weights}])
    with pytest.raises(DataError, match=complaint):
        read_manifest(made[0].path)


def test_damaged_manifests_are_named(made, tmp_path):
    path, order = made[0].path, order_path(made[0].path)
    text, entries = path.read_text(), np.load(order)
    path.write_text(text.replace('"sizes": [15,', '"sizes": [14,'))
    with pytest.raises(DataError, match=r"sizes must be whole numbers >= 0 with sum 26"):
        read_manifest(path)
    path.write_text(text.replace('"temperature": 0.0', '"temperature": 0.1'))
    with pytest.raises(DataError, match=r"m.json was changed after it was written"):
        read_manifest(path)
    path.write_text(text[:-20])
    with pytest.raises(DataError, match=r"m.json is not JSON"):
        read_manifest(path)
    path.write_text('{"format": 1, "hash": ""}')
    with pytest.raises(DataError, match=r"m.json is not a manifest of format 1: it lacks"):
        read_manifest(path)
    path.write_text(text)
    np.save(order, entries[:-1])
    with pytest.raises(DataError, match=r"m.order.npy is not the order file that .*m.json"):
        read_manifest(path)
    sources = made[0].content["sources"]
    np.save(order, entries)
    rewrite(path, sources=[sources[0], sources[1] | {"records": 5}])
    with pytest.raises(DataError, match=r"entry 25 \(leaf 2\) names record 25, but the sources"):
        read_manifest(path)
    order.unlink()
    with pytest.raises(FileNotFoundError, match=r"the other half of .*m.json, does not exist"):
        read_manifest(path)
    with pytest.raises(FileNotFoundError, match=r"nothing.json does not exist; make it with"):
        read_manifest(tmp_path / "nothing.json")


def test_bad_settings_are_named(embeddings, tmp_path):
    path = tmp_path / "m.json"
    for file, values, complaint in (
        ("short.npy", np.ones(25), r"short.npy holds float64 \[25\]; .* each of 26 records"),
        ("minus.npy", np.where(np.arange(26) == 7, -1, 1), r"minus.npy: record weight 7 is -1"),
        ("zero.npy", np.zeros(26), r"zero.npy: all record weights are zero"),
    ):
        np.save(tmp_path / file, values)
        with pytest.raises(DataError, match=complaint):
            make(path, embeddings, mixing.Balance(record_weights=str(tmp_path / file)))
    with pytest.raises(ValueError, match="first stage begins at draw 5, not 0"):
        mixing.parse_curriculum("5:1")
    with pytest.raises(ValueError, match="'0-1' is not first_draw:temperature"):
        mixing.parse_curriculum("0-1")
    with pytest.raises(ValueError, match="'9:nan' is not first_draw:temperature"):
        mixing.parse_curriculum("0:1,9:nan")
    with pytest.raises(ValueError, match="stage 5:1 begins no later than the one before"):
        mixing.parse_curriculum("0:1,9:0,5:1")
    with pytest.raises(ValueError, match="weights of sources are used with"):
        make(path, embeddings, source_weights=[1, 1])


def test_the_report_shows_every_leaf(made, embeddings, sources, tmp_path):
    manifest, leaves = made
    tree = Tree(LEAF.astype(np.int32), np.arange(26.0), leaves.paths, np.zeros((3, 2)), 0.0)
    page = report.write_report(
        tmp_path / "r.html",
        manifest,
        leaves,
        tree,
        facts=embeddings.facts(),
        sources=[named.source for named in sources],
        planned_draws=4000,
        clusters=60,
        frames=4,
        size=32,
    ).read_text()
    assert page.count("data:image/jpeg;base64,") == 3 and 'src="http' not in page
    assert "2 records of 1 case, 7.7 % of the corpus, 50.0 % of the draws: each 1,000" in page
    assert "most often drawn record</dt><dd>1,000 times" in page
    shutil.rmtree(tmp_path)

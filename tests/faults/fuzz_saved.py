"""Mutated files that this program wrote: checkpoints, manifests, embeddings, caches, results, logs.

Half of the checkpoints and manifests get checksums that fit what was done to them, as somebody who
means harm would give them.
"""

import contextlib
import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from surgrec_jax.checkpoint import Checkpoints, checksums
from surgrec_jax.curation import shards
from surgrec_jax.data.sampling.manifest import (
    content_hash,
    order_path,
    read_manifest,
    write_manifest,
)
from surgrec_jax.evaluation.benchmark import cells
from surgrec_jax.evaluation.features import cache
from surgrec_jax.evaluation.heads import run_head
from surgrec_jax.evaluation.report import summary
from surgrec_jax.evaluation.vlm import answers
from surgrec_jax.frozen.architecture import meta_of
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.safety.errors import UserError
from tests.evaluation.arrays import features, made_task
from tests.evaluation.report.test_report import measured
from tests.faults.fuzz_mutate import mutate, mutate_json, mutate_text

KEY = {"source": "made", "task": "phase", "column": "majority"}


class ReportedError(Exception):
    """Said in a sentence and passed over, or ended with an exit code."""


def suite(folder: Path, seed: int):
    """See fuzz.Suite. The kinds take turns; one file of each is mutated."""
    kinds = list(_write(folder / "sound").items())

    def case(number: int) -> str:
        rng = np.random.default_rng([seed, number])
        name, use = kinds[number % len(kinds)]
        copy = folder / f"case{number}"
        shutil.copytree(folder / "sound" / name, copy)
        try:
            files = sorted(path for path in copy.rglob("*") if path.is_file())
            path = files[int(rng.integers(len(files)))]
            path.write_bytes(_mutated(path, rng))
            if rng.random() < 0.5:
                _make_sums_fit(name, copy)
            use(copy)
        finally:
            shutil.rmtree(copy)
        return name

    return case, (ReportedError, UserError, OSError)


def _mutated(path: Path, rng: np.random.Generator) -> bytes:
    data = path.read_bytes()
    if path.suffix not in (".json", ".jsonl"):
        return mutate(data, rng)
    return mutate_json(data, rng) if rng.random() < 0.7 else mutate_text(data, rng)


def _make_sums_fit(name: str, copy: Path) -> None:
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        if name == "mixture":
            path = copy / "m.json"
            content = json.loads(path.read_bytes())
            content["order"]["sha256"] = _sha256(order_path(path))
            content["hash"] = content_hash(content)
            path.write_text(json.dumps(content))
        if name == "checkpoint":
            step = copy / "checkpoints" / "3"
            body = json.loads(json.loads((step / checksums.FILE).read_bytes())["manifest"])
            for file in body["files"]:
                data = (step / file).read_bytes()
                body["files"][file] = {"size": len(data), "crc32": [zlib.crc32(data)]}
            text = json.dumps(body)
            outer = {"crc32": zlib.crc32(text.encode()), "manifest": text}
            (step / checksums.FILE).write_text(json.dumps(outer))


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(root: Path) -> dict[str, Callable[[Path], object]]:
    """Sound files, a folder each, and what reads it."""
    uses = {
        "checkpoint": load_encoder,
        "mixture": _draw,
        "embeddings": lambda p: (shards.Embeddings(p).facts(), shards.Embeddings(p).block(0, 5)),
        "cache": lambda p: _there(cache.load_shard(p, 0)),
        "cells": lambda p: _there(cells.load(p, KEY)),
        "report": _report,
        "answers": lambda p: answers.read(p / "a.jsonl"),
    }
    for name in uses:
        (root / name).mkdir(parents=True)
    config = ViTConfig(12, 1, 2, 24, num_frames=4, image_size=(16, 16), patch=8)
    params = {"encoder": init_encoder(config, jax.random.key(0))}
    saved = Checkpoints(root / "checkpoint" / "checkpoints")
    meta = {"name": "x", "objective": "mae", "uses_target": False, **meta_of(config, fps=4.0)}
    saved.save(3, {"step": np.int32(3), "params": params}, meta)
    saved.close()

    source = {"name": "a", "records": 6, "fingerprint": "x"}
    write_manifest(
        root / "mixture" / "m.json",
        sources=[source],
        levels=["leaf"],
        leaf_of=np.array([0, 0, 1, 1, 1, 0]),
        paths=np.array([[0], [1]]),
        stages=[(0, np.array([0.5, 0.5])), (2000, np.array([0.9, 0.1]))],
        inputs={},
    )
    planned = shards.plan_shards([source], 4)
    index = {"format": shards.FORMAT, "encoder": {}, "clip": {}, "width": 8, "sources": [source]}
    (root / "embeddings" / shards.INDEX).write_text(json.dumps({**index, "shards": planned}))
    for shard in planned:
        count = shard["records"]
        facts = {
            "record": np.arange(shard["first"], shard["first"] + count),
            "domain": np.zeros(count, np.int8),
            **dict.fromkeys(("case", "video"), np.full(count, "c")),
            "label/phase": np.zeros(count, np.int16),
        }
        path = root / "embeddings" / shard["file"]
        shards.write_shard(path, np.ones((count, 8), np.float16), facts)
    cache.save_shard(root / "cache", 0, features("test"))

    labelled, _ = made_task()
    given = {"ridge": run_head.majority(labelled)}
    cells.save(
        root / "cells", KEY, cells.make(labelled, "majority", given, resamples=50, level=0.95)
    )
    run = root / "report" / "run"
    run.mkdir()
    (root / "report" / "results.json").write_text(json.dumps(measured("good")))
    (run / "config.json").write_text('{"objective": "mae", "name": "x", "steps": 9}')
    (run / "environment.json").write_text('[{"started": "2026", "devices": ["cpu"]}]')
    lines = [{"step": k, "loss": 1 / (k + 1), "probe/a/knn": 0.5} for k in range(9)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for k in range(9):
        answers.append(root / "answers" / "a.jsonl", f"v{k}", 0, "3", {"model": "m"})
    return uses


def _draw(folder: Path) -> None:
    found = read_manifest(folder / "m.json")
    found.sampler(0).draws(np.arange(3000))
    found.describe()


def _there(value: object) -> object:
    """None stands for a file that was passed over with a warning."""
    if value is None:
        raise ReportedError
    return value


def _report(folder: Path) -> None:
    out = folder / "page.html"
    args = [f"--probe={folder / 'results.json'}", "--runs", str(folder / "run"), f"--out={out}"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = summary.main(args)
    if code == 2:
        raise ReportedError
    assert not code
    assert "<script" not in out.read_text().replace("&lt;script", "")

"""Search finds footage that is stored, and refuses what it cannot compare."""

import cv2
import jax
import numpy as np
import pytest

from surgrec_jax import checkpoint
from surgrec_jax.curation.embed import embed
from surgrec_jax.data.loading.decode import decode_frames
from surgrec_jax.frozen.architecture import meta_of
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.prediction.search import main


def saved(folder, encoder, scale=1.0):
    """A workdir with the encoder."""
    params = jax.tree.map(lambda x: np.asarray(x) * scale, encoder.params)
    meta = {"name": folder.name, "objective": "mae", "uses_target": False, "sources": []}
    steps = checkpoint.Checkpoints(folder / "checkpoints", keep=1, keep_best=0)
    state = {"step": np.int32(1), "params": {"encoder": params}}
    steps.save(1, state, meta | meta_of(encoder.config, fps=encoder.fps))
    steps.close()
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory, sources, encoder):
    """The workdir of the encoder, and the folder of its embeddings."""
    folder = tmp_path_factory.mktemp("index")
    run = saved(folder / "run", encoder)
    embed(load_encoder(run), str(run), sources, folder / "embeddings")
    return run, folder / "embeddings"


@pytest.fixture(scope="module")
def footage(tmp_path_factory, sources):
    """Record 7 of the first source from its second frame on, as pictures of eight a second.

    The clip that was embedded, of stored frames 11 and 13, then is that of the moment 1.5 s.
    """
    folder, stored = tmp_path_factory.mktemp("footage"), sources[0].source.record(7)
    for k, frame in enumerate(decode_frames(stored.frames, range(len(stored.frames)))):
        if k:
            cv2.imwrite(str(folder / f"{k:04d}.png"), frame[..., ::-1])
    return folder, stored


def search(footage, index, data_dir, out, *more):
    _, embeddings = index
    given = [str(footage), f"--embeddings={embeddings}", f"--data_dir={data_dir}", f"--out={out}"]
    return main([*given, "--native_fps=8", "--count=5", *more])


def test_stored_footage_is_found_first(footage, index, data_dir, tmp_path, capsys):
    folder, stored = footage
    assert search(folder, index, data_dir, tmp_path / "page.html", "--at=1.5") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert stored.video_id in first and float(first.split()[0]) > 0.9
    assert float(second.split()[0]) <= float(first.split()[0])
    page = (tmp_path / "page.html").read_text()
    # The query's pictures, then a contact sheet of each record.
    assert page.count("data:image/jpeg") == 1 + 5 and page.index(stored.video_id) > 0
    assert "<script" not in page


def test_what_cannot_be_compared_is_a_sentence(footage, index, data_dir, encoder, tmp_path, capsys):
    other = saved(tmp_path / "other", encoder, scale=0.5)
    for more, said in (
        (["--at=1", f"--checkpoint={other}"], "is of another encoder"),
        (["--at=99"], "has no picture from 99 to 99 s"),
        (["--at=2", "--to=1"], "give a span"),
        (["--at=1", f"--data_dir={tmp_path}"], "not prepared"),
    ):
        assert search(footage[0], index, data_dir, tmp_path / "page.html", *more) == 1
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told
    assert not (tmp_path / "page.html").exists()

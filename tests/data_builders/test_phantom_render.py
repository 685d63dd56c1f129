"""The phantom's pictures: the same again, labels that agree with what is drawn, files that read
back.
"""

import dataclasses

import cv2
import numpy as np
import pytest

from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import read_video
from data_builders.phantom_surgery import corpus, maps, preview, render
from data_builders.phantom_surgery.editions import INSTRUMENTS
from data_builders.phantom_surgery.script import label_at

SPEC = corpus.CorpusSpec(patients=(6, 6, 6, 6), minutes=10.0, short_sides=(64,))


def _plan(domain, **changes):
    plan = next(p for p in corpus.plan_corpus(SPEC) if p.domain == domain)
    return dataclasses.replace(plan, **changes)


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_a_frame_is_a_function_of_its_time(domain):
    """The same picture from another scene, in another order."""
    plan = _plan(domain)
    one, two = render.Scene(plan), render.Scene(plan)
    times = [3.0, 11.5, 7.25, 20.0]
    ahead = [one.frame(t) for t in times]
    back = [two.frame(t) for t in reversed(times)][::-1]
    for a, b in zip(ahead, back, strict=True):
        assert a.image.shape == (plan.height, plan.width, 3) and a.image.dtype == np.uint8
        np.testing.assert_array_equal(a.image, b.image)
        assert a.present == b.present
    for t in times:
        for draw in (maps.draw_layers, maps.draw_depth):
            np.testing.assert_array_equal(draw(one, t), draw(two, t))
    other = render.Scene(dataclasses.replace(plan, video_seed=plan.video_seed + 1))
    assert not np.array_equal(other.frame(3.0).image, ahead[0].image)


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_presence_is_what_is_drawn(domain):
    """Leaving a tool out changes the picture if and only if it is labelled as present."""
    scene = render.Scene(_plan(domain, seconds=60.0))
    seen = {True: 0, False: 0}
    for t in np.arange(0.5, 60.0, 2.9):
        frame = scene.frame(float(t))
        for tool in INSTRUMENTS:
            without = scene.frame(float(t), hidden=frozenset([tool]))
            assert tool not in without.present
            changed = not np.array_equal(frame.image, without.image)
            assert changed == (tool in frame.present), (t, tool)
            seen[changed] += 1
    assert min(seen.values()) >= 15


def test_working_tool_is_in_the_picture():
    """In the middle of an action its tool is nearly always seen, and covers a good part of the
    picture.
    """
    hits, sizes = [], []
    for domain in corpus.DOMAINS:
        scene = render.Scene(_plan(domain, seconds=60.0))
        for use in scene.script.uses:
            t = 0.5 * (use.start + use.stop)
            frame = scene.frame(t)
            if use.mode == "work" and use.stop - use.start > 2.0 and not frame.out_of_body:
                hits.append(use.tool in frame.present)
                without = scene.frame(t, hidden=frozenset([use.tool])).image
                change = np.abs(frame.image.astype(int) - without).max(-1)
                sizes.append((change > 25)[scene.sensor.aperture > 0.5].mean())
    assert np.mean(hits) > 0.95
    assert 0.04 < np.median(sizes) < 0.25


def test_out_of_body_stretches_have_no_tools_and_look_different():
    plan = next(p for p in corpus.plan_corpus(SPEC) if render.Scene(p).script.out_of_body)
    scene = render.Scene(plan)
    start, stop = scene.script.out_of_body[0]
    frame = scene.frame(0.5 * (start + stop))
    assert frame.out_of_body and not frame.present
    assert not scene.frame(start - 0.1).out_of_body and not scene.frame(stop).out_of_body
    edition = scene.script.edition
    action = int(label_at(scene.script.actions, np.array([start - 0.1]))[0])
    tools = frozenset(INSTRUMENTS)
    truth = render.truth_at(
        scene,
        np.array([start - 0.1, start - 0.1, start + 0.1]),
        [tools, tools - {edition.tool_of.get(edition.actions[action])}, frozenset()],
        np.array([False, False, True]),
    )
    assert truth.tracks["phase"][0] >= 0 and truth.tracks["phase"][2] == -1
    hidden = action if edition.actions[action] == "idle" else -1
    assert truth.tracks["action"].tolist() == [action, hidden, -1]
    assert truth.tracks["instrument_retractor"].tolist() == [1, 1, 0]
    # Out of focus: hardly any fine structure (beyond the sensor's noise).
    sharp = [
        cv2.Laplacian(cv2.GaussianBlur(f.image[..., 1], (0, 0), 1.5), cv2.CV_32F)[
            scene.sensor.aperture > 0.99
        ].std()
        for f in (frame, scene.frame(start - 0.1))
    ]
    assert sharp[0] < 0.7 * sharp[1]


def test_wound_and_veil_persist():
    """Tissue under the wound line is dark and red after the dissection, and covered before the
    exposure.
    """
    scene = render.Scene(_plan("laparoscopy"))
    end = scene.script.phases[-1].start
    after, _ = scene.state.at(end)
    before, _ = scene.state.at(0.0)
    middle = scene.tissue.line[len(scene.tissue.line) // 2]
    row, col = (round(float((v + 1.6) * scene.tissue.density)) for v in middle[::-1])
    assert after[row, col].astype(int).sum() < 0.7 * before[row, col].astype(int).sum()
    again, _ = scene.state.at(end)
    np.testing.assert_array_equal(after, again)


@pytest.mark.parametrize(("codec", "container"), sorted(set(corpus.CODECS)))
def test_encoded_video_reads_back(codec, container, tmp_path):
    plan = _plan("endoscopy", codec=codec, container=container, seconds=12.0, fps=5.0)
    path = tmp_path / f"video{container}"
    truth = render.render_video(plan, path)
    assert len(truth.times) == 60
    report = ReadReport()
    frames = list(read_video(path, fps=8.0, short_side=64, report=report))
    assert len(frames) == 60 and not report.problems
    assert report.native_fps == pytest.approx(5.0, rel=1e-3)
    assert report.duration == pytest.approx(12.0, abs=0.25)
    np.testing.assert_allclose([f.time for f in frames], truth.times, atol=2e-3)
    drawn = render.Scene(plan).frame(float(truth.times[31])).image
    stored = frames[31].picture[..., ::-1].astype(int)
    assert np.abs(stored - drawn).mean() < 12.0


def test_unwritable_path_says_so(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        render.render_video(_plan("robotic"), tmp_path / "missing" / "video.avi")


def test_preview_draws_a_row_per_domain(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    preview.main(["--out", str(out), "--columns", "3", "--short_side", "48"])
    assert cv2.imread(str(out)).shape == (4 * 198, 3 * 240, 3)
    assert capsys.readouterr().out.strip() == str(out)


def _recoloured(plan, layer, colour):
    """The scene with one layer of another colour, as the light leaves it for the camera."""
    scene = render.Scene(plan)
    if layer == "organ":
        scene.tissue.albedo[scene.tissue.organ] = colour
    else:
        shaft = layer == "instrument_shaft"
        colours = scene.finish.colours
        colours.update({k: colour for k in colours if (k == "shaft") == shaft})
    scene.sensor.develop = lambda image, *_, **__: image.copy()
    return scene


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_layers_are_where_they_are_drawn(domain):
    """Another colour of one layer changes the picture in that layer's part of the map alone.

    Blood, smoke, water and light hide some of the organ.
    """
    plan = _plan(domain, seconds=30.0)
    for k, layer in enumerate(maps.LAYERS[1:], 1):
        one, two = (
            _recoloured(plan, layer, c) for c in ((10.0, 200.0, 10.0), (200.0, 10.0, 200.0))
        )
        found = np.zeros(4)
        for t in np.arange(1.0, 30.0, 2.3):
            ids, frame = maps.draw_layers(one, float(t)), one.frame(float(t))
            assert (ids is None) == frame.out_of_body
            if ids is None:
                continue
            changed = np.abs(frame.image - two.frame(float(t)).image).max(-1) > 30
            changed &= one.sensor.aperture > 0.5
            here = ids == k
            near = cv2.dilate(here.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            found += [m.sum() for m in (changed & here, here, changed & ~near, changed)]
        inside, layer_pixels, beyond, all_changed = found
        assert inside > (0.5 if layer == "organ" else 0.95) * layer_pixels > 400, layer
        assert beyond < 0.01 * all_changed, layer


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_depths_are_of_what_is_drawn(domain):
    """Tools lie before the tissue and change nothing else; a lumen is the farthest place."""
    scene = render.Scene(_plan(domain, seconds=30.0))
    tools, x, y = scene.motion.at, scene.sensor.x, scene.sensor.y
    seen = scene.sensor.aperture >= 0.5
    nearer = pixels = 0
    for t in np.arange(1.0, 30.0, 2.3).tolist():
        scene.motion.at = lambda t: [(pose, None) for pose, _ in tools(t)]  # nothing is pulled
        deep, ids = maps.draw_depth(scene, t), maps.draw_layers(scene, t)
        scene.motion.at = lambda t: []
        bare = maps.draw_depth(scene, t)
        assert (deep is None) == scene.outside(t)
        if deep is None:
            continue
        assert (deep[seen] > 1).all() and not deep[~seen].any()
        here = ids >= 2
        np.testing.assert_array_equal(deep[~here], bare[~here])
        assert (deep <= bare).all()
        nearer, pixels = nearer + (deep < bare)[here].sum(), pixels + here.sum()
        if scene.tissue.lumen is not None:
            lumen = scene.camera.to_view(np.array(scene.tissue.lumen), t)
            away = np.where(seen, np.hypot(x - lumen[0], y - lumen[1]), np.inf)
            if away.min() < 0.02:
                assert away.flat[bare.argmax()] < 0.05
    assert pixels > 400 and nearer > (0.05 if domain == "endoscopy" else 0.9) * pixels
    inside, around = (scene.tissue.relief[m].mean() for m in (scene.tissue.organ, slice(None)))
    assert inside > around + 0.005

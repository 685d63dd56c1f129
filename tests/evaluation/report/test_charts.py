"""Charts: places, ticks, names and colours of what they show."""

import re

import numpy as np

from surgrec_jax.evaluation.benchmark import names as names_page
from surgrec_jax.evaluation.report import results as results_page
from surgrec_jax.evaluation.report import svg, svg_tasks


def test_charts_place_what_they_show():
    row = svg.Bar("a", 50.0, 25.0, 75.0, (), "m0")
    drawn = svg.bars([row], None, width=284)  # 100 pixels for 100 percent, from x = 118
    assert 'width="50.0"' in drawn and "M143.0 21.0H193.0" in drawn
    drawn = svg.curves([svg.Curve("c", [0, 10], [5.0, 5.0], "m0")])
    assert 'd="M50.0 88.0L350.0 88.0"' in drawn  # a constant lies in the middle
    assert svg.curves([svg.Curve("c", [], [], "m0")]) == ""
    long = svg.Curve("c", list(range(10_000)), [1.0] * 9_999 + [2.0], "m0")
    assert svg.curves([long]).count("L") < 310
    np.testing.assert_allclose(svg.ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(svg.ticks(-3, 11, 4), [0, 5, 10])


def test_baselines_are_a_band_behind_the_models():
    values = {"majority": (20.0, "majority"), "random": (60.0, "random"), "MAE": (80.0, "m0")}
    rows = [svg.Bar(name, value, None, None, (), css) for name, (value, css) in values.items()]
    drawn = results_page.bars_of(rows)
    first, last = 118 + 216 * 0.2, 118 + 216 * 0.6
    assert f'<rect class="band" x="{first:.1f}" y="6" width="{last - first:.1f}"' in drawn
    assert drawn.index('class="band"') < drawn.index('class="bar"')
    assert drawn.count('<rect class="bar"') == 1 and "majority 20.0 %, random 60.0 %." in drawn
    assert "band" not in results_page.bars_of(rows[:2])  # nothing that it could stand behind


def test_an_axis_of_factors_has_ticks_at_powers_of_ten():
    assert svg.log_ticks(0.5, 40) == [0.5, 1, 2, 5, 10, 20]
    assert svg.log_ticks(1e-3, 2e3) == [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3]
    assert len(svg.log_ticks(1e-12, 1.0)) < 9
    drawn = svg.curves([svg.Curve("c", [0, 1, 2], [1.0, 10.0, 100.0], "m0")], log=True)
    heights = [float(y) for y in re.findall(r"[ML]\S+ (\d+\.\d)", drawn)]
    np.testing.assert_allclose(np.diff(heights)[0], np.diff(heights)[1], atol=0.2)
    assert ">100</text>" in drawn and ">0.1</text>" not in drawn
    with_zero = [svg.Curve("c", [0, 1], [0.0, 1.0], "m0")]
    assert svg.curves(with_zero, log=True) == svg.curves(with_zero)


def test_names_that_differ_stay_different():
    long = [f"dissection of the gallbladder {k}" for k in range(12)]
    for names in (long, [name[::-1] for name in long], [f"a{'x' * 20}{k}{'y' * 20}" for k in "12"]):
        cut = names_page.clip_names(names, 17)
        assert len(set(cut)) == len(names) and max(map(len, cut)) <= 17
    assert names_page.clip_names(["short", "short"], 17) == ["short", "short"]


def test_colours_follow_the_operation_and_differ_in_lightness():
    """Relative luminance rises along the operation, so no eye needs the hue."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    order = [2, 0, 1]
    light = [np.dot(weights, colour) for colour in svg_tasks.palette(3, order)]
    assert light[2] < light[0] < light[1]
    many = svg_tasks.palette(12)
    light = [np.dot(weights, colour) for colour in many[:12]]
    assert min(np.abs(np.diff(light))) > 10 and len(set(many)) == 13
    truth = [[[1, 0, 10], [0, 10, 20]], [[1, 5, 9], [2, 9, 12], [0, 12, 30]]]
    assert svg_tasks.along(truth) == [1, 2, 0]
    drawn = svg_tasks.ribbons(truth[1], {"a": truth[1]}, ["close", "open", "cut"], [1, 2, 0])
    assert ">close</text>" in drawn and ">cut</text>" in drawn  # names stand on their spans

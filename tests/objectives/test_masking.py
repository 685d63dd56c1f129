"""Masks: counts, coverage, statistics, and that they are functions of their keys."""

import dataclasses
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from surgrec_jax.objectives import masking
from surgrec_jax.objectives.masking import BlockMask

ROOT = Path(__file__).resolve().parents[2]
GRID = (8, 14, 14)
SHORT = BlockMask(blocks=8, scale=0.15, context=40, target=96)
LONG = BlockMask(blocks=2, scale=0.7, context=16, target=132)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def cells(ids, grid=GRID):
    """[B, n] token ids -> [B, t, n / t] spatial cells, after checking that tubelets are equal."""
    t, h, w = grid
    ids = np.asarray(ids).reshape(len(ids), t, -1)
    np.testing.assert_array_equal(ids // (h * w), np.arange(t)[None, :, None] + 0 * ids)
    return ids % (h * w)


def test_tube_mask_has_the_recipes_counts():
    visible, hidden = masking.tube_mask(keys(64), GRID, 0.9)
    assert visible.shape == (64, 160) and hidden.shape == (64, 8 * 176)
    both = np.sort(np.concatenate([visible, hidden], 1), 1)
    np.testing.assert_array_equal(both, np.tile(np.arange(1568), (64, 1)))
    same = cells(visible)
    np.testing.assert_array_equal(same, np.repeat(same[:, :1], 8, 1))


def test_tube_mask_hides_every_cell_equally_often():
    _, hidden = masking.tube_mask(keys(4000), GRID, 0.9)
    count = np.bincount(cells(hidden)[:, 0].ravel(), minlength=196)
    expected, deviation = 4000 * 176 / 196, np.sqrt(4000 * 176 / 196 * 20 / 196)
    assert np.abs(count - expected).max() < 4.5 * deviation


def test_running_cells_cover_every_position_alike():
    for ratio in (0.25, 0.5, 0.75):
        left_out = np.asarray(masking.running_cells((8, 4, 6), ratio))
        np.testing.assert_array_equal(left_out.mean((1, 2)), ratio)
        np.testing.assert_array_equal(left_out.mean(0), ratio)


def test_running_cells_turn_as_video_mae_2s():
    """Row by row over a 2 x 2 cell: 1100 of its queue, turned by one at every tubelet."""
    left_out = np.asarray(masking.running_cells((4, 2, 2), 0.5)).reshape(4, 4)
    rows = ["".join(map(str, row)) for row in left_out.astype(int)]
    assert rows == ["1100", "1001", "0011", "0110"]


def test_running_cells_refuse_other_ratios_and_grids():
    with pytest.raises(ValueError, match="0.25, 0.5 or 0.75"):
        masking.running_cells(GRID, 0.6)
    with pytest.raises(ValueError, match="even grid"):
        masking.running_cells((8, 7, 14), 0.5)


def test_decoded_tokens_are_hidden_and_outside_the_running_cells():
    _, hidden = masking.tube_mask(keys(16), GRID, 0.9)
    decoded = np.asarray(masking.decoded_ids(keys(16, 1), hidden, GRID, 0.5))
    assert decoded.shape == (16, 704)
    patterns = [np.asarray(masking.running_cells(GRID, 0.5, s)).ravel() for s in range(4)]
    starts = set()
    for some, all_hidden in zip(decoded, np.asarray(hidden), strict=True):
        assert len(np.unique(some)) == 704 and np.isin(some, all_hidden).all()
        fitting = [s for s in range(4) if not patterns[s][some].any()]
        assert len(fitting) == 1
        starts.update(fitting)
    assert len(starts) > 1


def test_the_recipes_masks_mean_the_same_at_any_image_size():
    """At 384 pixels as at 224: three times the cells, in as many draws."""
    config = runpy.run_path(str(ROOT / "configs" / "jepa.py"))["get_config"]()
    shares = [dict(mask) for mask in config.jepa.masks]
    assert [BlockMask.on(GRID, **mask) for mask in shares] == [SHORT, LONG]
    large = (8, 24, 24)
    masks = [BlockMask.on(large, **mask) for mask in shares]
    assert [(m.context, m.target) for m in masks] == [(118, 282), (47, 388)]
    assert all(masking.check_block_mask(large, mask) > 0.9 for mask in masks)
    assert BlockMask.on(large, blocks=2, scale=0.7, context=16, target=132) == LONG  # as given


@pytest.mark.parametrize("mask", [SHORT, LONG, dataclasses.replace(SHORT, trim="side")])
def test_block_masks_are_static_disjoint_and_equal_in_time(mask):
    context, target = masking.multi_block_mask(keys(256), GRID, mask)
    assert context.shape == (256, 8 * mask.context)
    assert target.shape == (256, 8 * mask.target)
    seen, predicted = cells(context), cells(target)
    for a, b in zip(seen, predicted, strict=True):
        assert len(np.unique(a[0])) == mask.context and len(np.unique(b[0])) == mask.target
        assert not np.isin(a[0], b[0]).any()
        np.testing.assert_array_equal(a, np.repeat(a[:1], 8, 0))
        np.testing.assert_array_equal(b, np.repeat(b[:1], 8, 0))


# Cells outside the union at the 5th, 50th and 95th percentile, measured on the reference masker
# at 14 x 14: 48, 72, 98 (short range) and 12, 40, 56 (long range).
@pytest.mark.parametrize(("mask", "percentiles"), [(SHORT, (48, 72, 98)), (LONG, (12, 40, 56))])
def test_unions_have_the_reference_statistics(mask, percentiles):
    unions = jax.vmap(lambda key: masking.block_union(key, mask, 14, 14))(keys(4000))
    outside = 196 - np.asarray(unions).sum((1, 2))
    np.testing.assert_allclose(np.quantile(outside, (0.05, 0.5, 0.95)), percentiles, atol=2)


def test_context_is_outside_the_rectangles_and_targets_fill_them():
    """Targets come in rectangles, context does not: neighbours of targets are mostly targets."""
    _, target = masking.multi_block_mask(keys(128), GRID, LONG)
    picture = np.zeros((128, 14, 14), bool)
    for row, ids in zip(picture, cells(target)[:, 0], strict=True):
        row.reshape(-1)[ids] = True
    neighbours = (picture[:, 1:] & picture[:, :-1]).sum() / picture[:, 1:].sum()
    assert neighbours > 0.75 > LONG.target / 196


def neighbours(ids):
    """The mean share of a cell's four (at borders fewer) neighbours that are in the same set."""
    shares = []
    for clip in cells(ids)[:, 0]:
        chosen = {divmod(int(cell), 14) for cell in clip}
        for row, column in chosen:
            around = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
            inside = [c for c in around if min(c) >= 0 and max(c) < 14]
            shares.append(np.mean([c in chosen for c in inside]))
    return np.mean(shares)


@pytest.mark.parametrize(
    ("mask", "random", "side"),
    [(SHORT, (0.48, 0.71), (0.79, 0.89)), (LONG, (0.33, 0.81), (0.71, 0.94))],
)
def test_a_side_that_is_cut_off_leaves_neighbours_together(mask, random, side):
    """Untrimmed unions of these rectangles have 0.84 and 0.77 outside, 0.92 and 0.96 inside."""
    for trim, expected in (("random", random), ("side", side)):
        ids = masking.multi_block_mask(keys(300), GRID, dataclasses.replace(mask, trim=trim))
        for part, share in zip(ids, expected, strict=True):
            assert neighbours(part) == pytest.approx(share, abs=0.02)


def test_no_direction_is_cut_off_more_often():
    ids = masking.multi_block_mask(keys(4000), GRID, dataclasses.replace(SHORT, trim="side"))
    for part in ids:
        count = np.bincount(cells(part)[:, 0].ravel(), minlength=196).reshape(14, 14)
        for mirrored in (count[::-1], count[:, ::-1]):
            assert np.abs(mirrored - count).max() < 6 * np.sqrt(count.max())


def test_an_unknown_trim():
    with pytest.raises(ValueError, match="trim='raster': choose from .*side"):
        dataclasses.replace(SHORT, trim="raster")


def test_masks_are_functions_of_the_clips_key():
    """A clip's mask does not depend on the batch it is in."""
    whole = masking.multi_block_mask(keys(8), GRID, SHORT)
    part = masking.multi_block_mask(keys(8)[3:5], GRID, SHORT)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[3:5], b)
    assert (np.asarray(whole[0][0]) != np.asarray(whole[0][1])).any()


def test_impossible_block_masks_are_refused_with_counts_that_fit():
    with pytest.raises(ValueError, match=r"14 x 14.*about \d+ and \d+ \(0.\d+ and 0.\d+ of"):
        masking.check_block_mask(GRID, BlockMask(2, 0.7, context=100, target=136))
    with pytest.raises(ValueError, match="not one context"):
        masking.check_block_mask(GRID, BlockMask(2, 0.7, context=0, target=136))
    assert masking.check_block_mask(GRID, SHORT) > 0.9
    assert masking.check_block_mask(GRID, LONG) > 0.85

"""Kernels of a GPU program: FLOPs, bytes and loops, counted by hand here."""

from pathlib import Path

import pytest

from surgrec_jax.compile_report import kernels

# A loop of 3 layers over x bf16[8,4]: weights are taken out of a stack, and what a layer gives is
# kept in another. cuDNN's attention, a fused product and a branch follow.
PROGRAM = (Path(__file__).parent / "gpu_step.hlo").read_text()


@pytest.fixture(scope="module")
def found():
    return kernels.kernels(PROGRAM)


def of_kind(found, kind):
    return sorted((k.times, k.flops, k.size) for k in found if k.kind == kind)


def test_products_in_loops_and_fusions(found):
    flops = 2 * 8 * 4 * 4
    in_loop = (3, flops, 2 * (8 * 4 + 4 * 4 + 8 * 4))  # the scratch space is not counted
    assert of_kind(found, "matrix products") == [
        (1, flops, 2 * (8 * 4 + 4 * 4) + 4 * 8 * 4),
        in_loop,
    ]


def test_attention_forward_and_backward(found):
    pairs = 2 * 3 * 6 * 10 * 8  # clips, heads, queries, keys, size of a head
    q, k = 2 * 2 * 6 * 3 * 8, 2 * 2 * 10 * 3 * 8
    assert of_kind(found, "attention") == [
        (1, 4 * pairs, q + 2 * k + q + 4 * 2 * 3 * 6),
        (1, 10 * pairs, 2 * (q + k)),
    ]


def test_only_the_part_of_a_stack_that_moves_is_counted(found):
    read = 3, 0, 2 * (2 * 4 * 4) + 4  # a layer's weights read and written; the index read
    kept = 3, 0, 2 * (2 * 8 * 4) + 4
    assert of_kind(found, "other") == [(1, 0, 3 * 4 * 8 * 4), read, kept]  # and the branch's sum


def test_the_least_time_is_that_of_memory_or_of_flops(found):
    table = kernels.summary(found, peak=100.0, bandwidth=1e9)
    products = table["matrix products"]
    assert products["runs_per_step"] == 4 and products["least_seconds"] == pytest.approx(4 * 2.56)
    table = kernels.summary(found, peak=1e30, bandwidth=2.0)
    total = sum(k.times * k.size for k in found)
    assert sum(kind["least_seconds"] for kind in table.values()) == pytest.approx(total / 2)
    assert sum(kind["gib_per_step"] for kind in table.values()) == pytest.approx(total / 2**30)

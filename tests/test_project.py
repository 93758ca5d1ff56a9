"""benchmarks/project.py: its model keeps what is known of all-reduces, and predicts what was published."""

import math

import pytest
from cost_model import Device, Fabric, Workload, expected_maximum, overlapped, plain_link, step_parts, waiting
from project import DGX_A100, FABRICS, horovod_curves, last_count, seconds_by_count, stylegan3_curves

ALPHA, BETA = 1e-5, 1e9
FLAT = Fabric("flat", 1, plain_link(BETA, ALPHA), plain_link(BETA, ALPHA))
STEEP = Fabric("steep", 8, plain_link(100 * BETA, ALPHA / 100), plain_link(BETA, ALPHA))
SIZES, COUNTS = (4, 1e4, 1e7, 1e9), (2, 3, 8, 64, 4096)
DEVICE = Device(1e13, 1e-6, 0.01)
WORK = Workload("a recipe", 64, 1e9, 100, (1e8,), norms=4, norm_bytes=1000)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("size", SIZES)
def test_ring_and_tree_have_their_closed_forms(size: float, count: int) -> None:
    ring = 2 * (count - 1) * (ALPHA + size / count / BETA)
    tree = 2 * (math.log2(count) * ALPHA + size / BETA)
    assert FLAT.by("ring", "bulk", size, count) == pytest.approx(ring)
    assert FLAT.by("tree", "bulk", size, count) == pytest.approx(tree)
    assert FLAT.by("hierarchical", "bulk", size, count) == pytest.approx(ring)
    assert FLAT.all_reduce(size, count) == pytest.approx(min(ring, tree))


@pytest.mark.parametrize("fabric", (STEEP, *FABRICS), ids=lambda fabric: fabric.name)
def test_an_all_reduce_costs_more_with_more_bytes_and_nodes_and_nothing_alone(fabric: Fabric) -> None:
    seconds = [[fabric.all_reduce(size, 8 * nodes) for nodes in (1, 2, 16, 512)] for size in SIZES]
    assert seconds == [sorted(row) for row in seconds]
    assert list(zip(*seconds, strict=True)) == [tuple(sorted(column)) for column in zip(*seconds, strict=True)]
    assert fabric.awaited(1e6, 1) == 0 < fabric.all_reduce(4, 2)


@pytest.mark.parametrize("nodes", (2, 16, 512))
def test_on_two_levels_the_hierarchy_beats_the_flat_ring_where_latency_counts(nodes: int) -> None:
    assert STEEP.by("hierarchical", "bulk", 1e4, 8 * nodes) < STEEP.by("ring", "bulk", 1e4, 8 * nodes)
    bandwidth_bound = STEEP.by("ring", "bulk", 1e12, 8 * nodes)
    assert bandwidth_bound == pytest.approx(2e12 * (8 * nodes - 1) / (8 * nodes) / BETA, rel=1e-3)


def test_all_reduces_hide_behind_the_backward_pass_but_for_what_sticks_out() -> None:
    ready = [(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]
    assert overlapped(ready, lambda size: 0.5 * size) == 3.5
    assert overlapped(ready, lambda size: 2 * size) == 7
    assert overlapped(ready, lambda size: 1 + size) == 7
    assert overlapped(ready, lambda size: 1 + size, fusion_bytes=2) == 6


def test_more_replicas_wait_longer_for_the_slowest() -> None:
    assert [round(expected_maximum(count), 2) for count in (1, 2, 100)] == [0, 0.59, 2.5]  # exact: 0, 0.56, 2.51
    assert waiting(1.0, 0.1, 64, meetings=4) == pytest.approx(2 * waiting(1.0, 0.1, 64))


def test_a_step_of_one_replica_is_what_it_computes_and_its_parts_grow_with_their_causes() -> None:
    alone = step_parts(WORK, 1, 64, STEEP, DEVICE)
    assert sum(alone.values()) == alone["arithmetic"] + alone["launches"] == pytest.approx(64e9 / 1e13 + 100e-6)
    many = step_parts(WORK, 64, 64, STEEP, DEVICE)
    assert many["arithmetic"] == pytest.approx(alone["arithmetic"] / 64)
    assert many["batch norms"] == pytest.approx(4 * STEEP.awaited(1000, 64))
    halved = step_parts(WORK._replace(updates=(5e7,)), 64, 64, STEEP, DEVICE)
    assert halved["gradients"] < many["gradients"]


def test_scaling_ends_where_it_ought_to() -> None:
    free = Fabric("free", 8, plain_link(1e30, 0.0), plain_link(1e30, 0.0))
    steady = DEVICE._replace(variation=0.0)
    assert last_count(seconds_by_count(WORK, free, steady, "weak"), "weak") == 4096
    assert last_count(seconds_by_count(WORK, free, steady, "strong"), "strong") == 64
    assert last_count(seconds_by_count(WORK, STEEP, steady, "weak"), "weak") < 4096


def test_the_published_curves_come_out_with_the_errors_that_are_told() -> None:
    errors = {row["curve"]: row["error"] for row in horovod_curves() + stylegan3_curves()}
    assert all(abs(error) < 0.03 for curve, error in errors.items() if "StyleGAN3" in curve)
    assert all(abs(error) < 0.09 for curve, error in errors.items() if "Inception" in curve or "ResNet" in curve)
    assert 0.2 < errors["Horovod, VGG-16, 512 P100"] < 0.3  # a miss: what it lacks is in benchmarks/README.md
    assert DGX_A100.all_reduce(2e8, 8) < 0.01  # so communication is not what StyleGAN3 waits for

"""One run whatever it runs on: every layout against the single process."""

import json
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest

from distgan.config import Config
from distgan.gans.base import make_gan
from distgan.training import precision
from distgan.training.state import network_variables

PROGRAM = str(Path(__file__).parent / "layout_program.py")
EXACT = 1e-10  # in float64, where rounding is 2e-16 and a mean of means over uneven shards 5e-4
MOVED = 0.05  # in float32, of the way that the weights went: a sign flip in a leaky ReLU makes 0.01
QUICK = {layouts.Layout("horovod", 2)}  # those tried without the slow tests

FILTERS = 16  # a quarter of the recipe's
NARROW = f"--filters={FILTERS}"
ROUNDED = 0.1  # the same, where gradients have 8 bits


def _parameter(layout: layouts.Layout) -> Any:
    marks = [] if layout in QUICK else [pytest.mark.slow]
    if layout.backend == "horovod" and not layouts.HOROVODRUN:
        marks.append(pytest.mark.skip(reason=layouts.NO_HOROVOD))
    return pytest.param(layout, marks=marks, id=str(layout))


class Seen:
    """What `layout_program.py` saw in a layout."""

    def __init__(self, layout: layouts.Layout, directory: Path, *flags: str) -> None:
        status, output = layouts.run(layout, PROGRAM, f"--output={directory}", *flags)
        assert status == 0, output[-5000:]
        self.layout, self.directory = layout, directory
        self.by_rank = [json.loads((directory / f"seen-{rank}.json").read_text()) for rank in range(layout.processes)]

    def state(self, run: str, step: int) -> dict[str, np.ndarray]:
        with np.load(self.directory / run / "checkpoints" / f"step_{step:09d}" / "state.npz") as arrays:
            return dict(arrays)

    def digest(self, run: str, step: int) -> str:
        manifest = self.directory / run / "checkpoints" / f"step_{step:09d}" / "manifest.json"
        return str(json.loads(manifest.read_text())["state_digest"])


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    looks = "--looks=exact_run,float32_run,rounded_run,local_run,noise_rows"  # what layouts are compared with
    return Seen(layouts.SINGLE, tmp_path_factory.mktemp("single"), NARROW, looks)


@pytest.fixture(scope="module", params=[_parameter(layout) for layout in layouts.LAYOUTS if layout.replicas < 4])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return Seen(request.param, tmp_path_factory.mktemp(str(request.param)), NARROW)


@pytest.mark.slow
@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_the_recipe_as_it_is_makes_the_single_process_s_run_on_four_ranks(tmp_path: Path) -> None:
    layout, looks = layouts.Layout("horovod", 4), "--looks=exact_run"
    (tmp_path / "single").mkdir()
    _assert_exact(Seen(layout, tmp_path, looks), Seen(layouts.SINGLE, tmp_path / "single", looks))


@pytest.mark.slow
def test_four_devices_make_the_single_process_s_run(single: Seen, tmp_path: Path) -> None:
    _assert_exact(Seen(layouts.Layout("mirrored", 4), tmp_path, NARROW, "--looks=exact_run"), single)


def test_every_weight_statistic_and_slot_is_the_single_process_s_in_float64(seen: Seen, single: Seen) -> None:
    _assert_exact(seen, single)


def _assert_exact(seen: Seen, single: Seen) -> None:
    ours, theirs = seen.state("float64", 20), single.state("float64", 20)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 76  # 60 of the recipe, and the average of the generator
    differences = {name: np.abs(ours[name] - theirs[name]).max() for name in ours}
    print(f"{seen.layout}: largest difference in float64 {max(differences.values()):.2g}")
    assert max(differences.values()) <= EXACT, differences


def _moved(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], config: Config) -> dict[str, float]:
    """By network, how far weights differ, as a part of how far they went from where both started."""
    with precision.policy("float32"):
        networks = make_gan(config, (28, 28, 1), list, ())
    start = {name: variable.numpy() for name, variable in network_variables(networks).items()}
    parts = {}
    for network in ("generator", "discriminator"):
        names = [name for name in start if name.startswith(network)]
        differed, moved = (
            np.sqrt(sum(np.sum((theirs[name] - other[name]) ** 2) for name in names)) for other in (ours, start)
        )
        assert moved > 0
        parts[network] = float(differed / moved)
    return parts


def test_float32_weights_differ_by_little_of_the_way_they_went(seen: Seen, single: Seen) -> None:
    parts = _moved(seen.state("float32", 20), single.state("float32", 20), Config(filters=FILTERS))
    print(f"{seen.layout}: float32 |difference| / |movement| {parts}")
    assert max(parts.values()) <= MOVED


def test_gradients_rounded_on_the_wire_lead_to_nearly_the_same_weights(seen: Seen, single: Seen) -> None:
    parts = _moved(seen.state("rounded", 20), single.state("rounded", 20), Config(filters=4, latent_dim=10))
    print(f"{seen.layout}: rounded on the wire, |difference| / |movement| {parts}")
    assert 1e-6 < max(parts.values()) <= ROUNDED  # unrounded, 1e-12


def test_moving_statistics_of_local_batch_norm_are_averaged(seen: Seen, single: Seen) -> None:
    ours, theirs = seen.state("local", 1), single.state("local", 1)
    (mean, *_), (variance, *_) = ([n for n in ours if n.endswith(f"moving_{what}")] for what in ("mean", "variance"))
    assert np.allclose(ours[mean], theirs[mean], rtol=0, atol=1e-12)  # of the first layer, in the first step
    assert not np.allclose(ours[variance], theirs[variance], rtol=0, atol=1e-6)  # that of shares is smaller


def test_late_processes_do_not_change_a_bit(seen: Seen) -> None:
    assert seen.digest("jitter-1", 20) == seen.digest("jitter-2", 20)


def test_all_processes_stay_equal_and_skip_a_step_that_overflows_on_one(seen: Seen) -> None:
    before, skipped = seen.state("float16", 2), seen.state("float16", 3)
    for player in ("generator", "discriminator"):
        assert skipped[f"{player}/loss_scale/dynamic_scale"] == before[f"{player}/loss_scale/dynamic_scale"] / 2
        assert skipped[f"{player}/iteration"] == before[f"{player}/iteration"]
    lines = (seen.directory / "float16" / "metrics.jsonl").read_text().splitlines()
    assert 0 < json.loads(lines[1])["gradient_norm/generator"] < 1000  # not the scaled gradients', of 32,768 times that
    for name in ("generator/project/kernel", "discriminator/logit/kernel"):
        assert np.array_equal(skipped[name], before[name])
        assert not np.array_equal(seen.state("float16", 4)[name], skipped[name])


def test_together_processes_see_the_rows_that_one_would(seen: Seen, single: Seen) -> None:
    for what in ("rows", "examples", "noise"):
        together = [row for rank in seen.by_rank for row in rank[what]]
        assert together == single.by_rank[0][what]


def test_no_two_rows_of_noise_are_equal(single: Seen) -> None:
    noise = single.by_rank[0]["noise"]
    assert len({tuple(row) for row in noise}) == len(noise) == 10


def test_sums_agreements_and_broadcasts_reach_all(seen: Seen) -> None:
    processes = seen.layout.processes
    for rank in seen.by_rank:
        assert rank["sum"] == [[processes, sum(range(processes))], [0.5 * processes]]
        assert rank["agreed"] == {"text": "é"}
        assert rank["broadcast"] == [-1.0, 1.0]


def test_a_failure_of_the_chief_alone_is_known_to_all(seen: Seen) -> None:
    assert {rank["failure"] for rank in seen.by_rank} == {"the chief's sentence"}


def test_a_checkpoint_names_what_diverged(seen: Seen) -> None:
    for rank in seen.by_rank:
        assert rank["divergence"] == (
            "Replicas have different values of discriminator/logit/bias: no checkpoint was saved. "
            "Resume from the last one."
        )


def test_a_profile_and_under_horovod_a_timeline_are_left(seen: Seen) -> None:
    assert list((seen.directory / "float16" / "tensorboard").rglob("*.xplane.pb"))
    timeline = seen.directory / "float16" / "horovod_timeline.json"
    assert timeline.exists() == (seen.layout.backend == "horovod")
    if timeline.exists():
        assert "ALLREDUCE" in timeline.read_text()

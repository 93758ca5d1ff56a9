"""What a run warns of, in words."""

import io
import json
from pathlib import Path

import numpy as np
import small_runs

from distgan.report.reporter import Reporter
from distgan.training.health import FEW_LOGS, Health, not_finite

FINE = {"accuracy/real": 0.8, "accuracy/fake": 0.7, "gradient_norm/generator": 0.5, "gradient_norm/discriminator": 1.0}
GOOD = {
    "quality/modes": 10.0, "quality/coverage": 0.8, "quality/precision": 0.8, "quality/nearest_neighbour_ratio": 1.0,
    "quality/nearest_neighbour_floor": 0.83,
    **{f"quality/share_of_{digit}": 0.1 for digit in range(10)},
}  # fmt: skip


def _after(values: dict[str, float], times: int = FEW_LOGS) -> list[str]:
    health = Health()
    return [text for _ in range(times) for text in health.of_training(FINE | values)]


def test_a_run_that_is_well_is_not_warned_of() -> None:
    assert _after({}, 100) == []
    assert Health().of_samples(GOOD) == []


def test_a_discriminator_that_wins_or_is_dead_is_named_once_and_not_at_once() -> None:
    (wins,) = _after({"accuracy/real": 1.0, "accuracy/fake": 1.0}, 3 * FEW_LOGS)
    assert "separates all samples from real images" in wins
    (dead,) = _after({"accuracy/real": 1.0, "accuracy/fake": 0.0}, 3 * FEW_LOGS)
    assert "discriminator has equal outputs" in dead
    assert _after({"accuracy/real": 1.0, "accuracy/fake": 1.0}, FEW_LOGS - 1) == []


def test_a_straggler_is_named() -> None:
    spent = {f"speed/rank_{rank}_{kind}_seconds": 0.1 for rank in range(3) for kind in ("input", "processor")}
    assert _after(spent) == []
    (text,) = _after(spent | {"speed/rank_2_input_seconds": 0.3})
    assert text.startswith("Rank 2 is slower than the others")


def test_the_first_loss_that_is_no_number_is_named_with_its_step() -> None:
    def steps(*losses: float) -> dict[str, np.ndarray]:
        return {"loss/generator": np.full(len(losses), 0.5), "loss/discriminator": np.array(losses)}

    assert not_finite(steps(0.1, 0.2), 10, "float32") == ""
    since_9 = "loss/discriminator is NaN or infinite since step 9"
    assert not_finite(steps(0.1, np.nan, np.inf), 10, "float32") == since_9
    assert not_finite(steps(0.1, np.inf), 10, "mixed_float16") == ""  # that step was skipped
    assert not_finite(steps(np.nan, np.inf), 10, "mixed_float16") == since_9


def test_vanished_gradients_are_named_with_their_player() -> None:
    (text,) = _after({"gradient_norm/generator": 1e-9})
    assert "gradients of the generator have vanished" in text


def test_collapsed_and_copied_samples_are_named() -> None:
    for wrong, words in (
        ({"quality/modes": 3.0}, "have few modes"),
        ({"quality/coverage": 0.01}, "may have collapsed"),
        ({"quality/nearest_neighbour_ratio": 0.84}, "may be memorized"),
    ):
        (text,) = Health().of_samples(GOOD | wrong)
        assert words in text


def test_a_warning_comes_again_only_after_all_was_well() -> None:
    health = Health()
    said = [len(health.of_samples(GOOD | {"quality/modes": modes})) for modes in (3, 3, 10, 3)]
    assert said == [1, 0, 0, 1]


def test_a_warning_is_said_and_logged(tmp_path: Path) -> None:
    console = io.StringIO()
    reporter = Reporter(tmp_path, enabled=True, first_step=0, console=console)
    reporter.warning(3, 48, 0.1, "The samples are few.")
    assert "warning: The samples are few." in console.getvalue()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["warning"] == "The samples are few."


def test_a_run_whose_samples_are_all_alike_is_warned_of(tmp_path: Path) -> None:
    said = small_runs.train(tmp_path, steps=1, evaluate_every="1epochs", evaluate_num_images=200)
    assert "warning: The samples have few modes" in said
    assert np.isfinite(json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["loss/generator"])

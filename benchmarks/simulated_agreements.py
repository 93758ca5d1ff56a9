"""What each rank of a run does when it starts and for a checkpoint, by distgan's own code."""

from collections.abc import Callable
from typing import Any
from unittest import mock

from simulated_ranks import alike, run
from simulated_training import batch_size, source

from distgan.config import Config
from distgan.errors import TrainingError, UserError
from distgan.replicas.base import Replicas
from distgan.store.run_directory import RunDirectory, Snapshot
from distgan.training import environment, feed
from distgan.training.trainer import Trainer

START = ("data", "run directory", "networks", "bad files", "environment")


def count(ranks: int, run_dir: str) -> dict[str, int]:
    """Return the sums of a start and of a checkpoint, and the bytes that each rank sums in them.

    Raises `RuntimeError` if the ranks do not find the same, or do not all know that one has failed or differs.
    """
    programs = _Programs(ranks, run_dir)
    with mock.patch.object(feed, "open_source", lambda *given: programs.data):
        found = {name: run(ranks, program) for name, program in programs.measured().items()}
        for outcome in found.values():
            alike(outcome.results)
        for program, error in ((programs.differ, TrainingError), (programs.fail, UserError)):
            if ranks > 1 and not isinstance(alike(run(ranks, program).results), error):
                raise RuntimeError(f"not all ranks know that rank {programs.another} is not as the others")
    return {
        "start, sums": sum(found[name].arrays for name in START),
        **{f"start, {name}, bytes": found[name].num_bytes for name in START},
        "a checkpoint, sums": found["a checkpoint"].arrays,
        "a checkpoint, bytes": found["a checkpoint"].num_bytes,
    }


class _Programs:
    """Programs of a rank. All ranks have one run directory and one state."""

    def __init__(self, ranks: int, run_dir: str) -> None:
        self._config = Config(batch_size=batch_size(ranks), run_dir=run_dir, filters=1, generator_filters=1)
        self.data = source()
        self._trainer = Trainer(self._config, Replicas(), self.data)
        self._facts, self.another = self._trainer.facts(), ranks // 2
        (self._config.directory / "config.json").write_text(self._config.to_json())  # as when a rank starts again

    def measured(self) -> dict[str, Callable[[Replicas], Any]]:
        """The programs by their names, in the order in which a run has them."""
        return {
            "data": lambda replicas: feed.open_data(self._config, replicas).fingerprint,
            "run directory": self._enter,
            "networks": lambda replicas: [replicas.agree(each) for each in (self._facts["precision"], "parts", 1, 1)],
            "bad files": self._report_bad_files,
            "environment": lambda replicas: environment.describe(replicas, "float32", 0)["ranks"],
            "a checkpoint": self._save,
        }

    def differ(self, replicas: Replicas) -> None:
        """Compare the state, of which one rank has another one."""
        state = self._trainer.state
        digests = {"kernel": "0" * 64, "bias": str(replicas.rank == self.another)} | dict.fromkeys(state.variables, "")
        RunDirectory(self._config, replicas)._compare(state, digests)

    def fail(self, replicas: Replicas) -> None:
        """Do something together that fails on one rank."""

        def own() -> None:
            if replicas.rank == self.another:
                raise UserError("this rank has failed")

        replicas.together(own)

    def _enter(self, replicas: Replicas) -> list[str]:
        with RunDirectory(self._config, replicas) as entered:
            return entered.restore(self._trainer.state, self.data.fingerprint, Snapshot())

    def _report_bad_files(self, replicas: Replicas) -> None:
        feed.Feed(self._config, replicas, self.data, position=0, image_phases=2, most=1).report_bad_files(print)

    def _save(self, replicas: Replicas) -> str:
        directory = RunDirectory(self._config, replicas)
        if replicas.is_chief:
            directory._take()
        try:
            directory.save(self._trainer.state, self._facts)
            directory.settle(is_last=True)
        finally:
            directory.__exit__()
        return directory.newest_checkpoint()

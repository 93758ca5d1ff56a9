"""Elastic training: under `horovodrun --min-np`, a run continues when the set of workers changes.

The results of a run do not depend on the number of workers. After a change, old and new workers join in the same way.
They resume from the newest state that one of them has in memory, or from the newest checkpoint if that is newer.
"""

import gc
import signal
from typing import TextIO

import tensorflow as tf

from distgan.config import Config
from distgan.errors import LEFT, AloneError, reason
from distgan.replicas.base import Replicas
from distgan.store.run_directory import Snapshot
from distgan.training import loop
from distgan.training.loop import Regrouping
from distgan.training.trainer import Trainer

# The errors that a collective raises on the remaining workers if another worker is lost.
LOST = (tf.errors.UnknownError, tf.errors.InternalError, tf.errors.AbortedError, tf.errors.CancelledError)
VAIN_ATTEMPTS = 5  # in a row to resume, without a new snapshot in between


def train(config: Config, replicas: Replicas, console: TextIO | None = None) -> tuple[Trainer, signal.Signals | None]:
    """Train as `loop.train` does; with an elastic backend, continue when the set of workers changes."""
    snapshot, caught = Snapshot(), list[int]()  # a signal caught just before a worker is lost is handled after it
    attempts, last_step = 0, -1
    while True:
        try:
            return loop.train(config, replicas, console, snapshot, caught)
        except Regrouping:
            why = "workers joined or left"
        except LOST as error:
            if not replicas.is_elastic or attempts == VAIN_ATTEMPTS:
                raise
            why = f"processes were lost ({reason(error)})"
        attempts, last_step = (attempts + 1 if snapshot.step == last_step else 0), snapshot.step
        if replicas.is_chief:
            print(f"distgan: {why}; the remaining workers resume from step {max(0, snapshot.step)}", file=console)
        gc.collect()  # frees the old networks before new ones are created
        try:
            replicas.regroup()
        except (RuntimeError, ValueError, OSError):
            why = "this process was removed from the elastic job: see Horovod's message above."
            raise AloneError(why, LEFT) from None

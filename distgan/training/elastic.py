"""Training by processes that come and go: under `horovodrun --min-np`, a run goes on with those that are there.

As a run does not depend on their number, neither does what comes of it. All that were there join anew, as newcomers do,
from the newest state that one of them has in memory, or from the newest checkpoint if that is newer.
"""

import gc
import signal
import sys
from typing import TextIO

import tensorflow as tf

from distgan.config import Config
from distgan.errors import LEFT, AloneError, reason
from distgan.replicas.base import Replicas
from distgan.store.run_directory import Snapshot
from distgan.training import loop
from distgan.training.loop import Regrouping
from distgan.training.trainer import Trainer

# What a collective raises on those that are left when another process has gone.
LOST = (tf.errors.UnknownError, tf.errors.InternalError, tf.errors.AbortedError, tf.errors.CancelledError)
VAIN_ATTEMPTS = 5  # in a row to go on, without a step's having been kept


def train(config: Config, replicas: Replicas, console: TextIO = sys.stdout) -> tuple[Trainer, signal.Signals | None]:
    """As `loop.train`; where processes may come and go, also when they do."""
    snapshot, caught = Snapshot(), list[int]()  # a signal that came just before a loss is answered after it
    attempts, last_step = 0, -1
    while True:
        try:
            return loop.train(config, replicas, console, snapshot, caught)
        except Regrouping:
            why = "processes come or go"
        except LOST as error:
            if not replicas.is_elastic or attempts == VAIN_ATTEMPTS:
                raise
            why = f"processes were lost ({reason(error)})"
        attempts, last_step = (attempts + 1 if snapshot.step == last_step else 0), snapshot.step
        if replicas.is_chief:
            print(f"distgan: {why}; the remaining workers resume from step {max(0, snapshot.step)}", file=console)
        gc.collect()  # the networks of the run so far, before they are made anew
        _regroup(replicas)


def _regroup(replicas: Replicas) -> None:
    try:
        replicas.regroup()
    except (RuntimeError, ValueError, OSError):
        raise AloneError(
            "this process left the elastic job: its launcher has no more use for it, as Horovod says above, or it "
            "could not join the others anew.",
            LEFT,
        ) from None

"""Train a GAN: the same program on one device, on many, and under horovodrun.

    python -m distgan.train
    horovodrun -np 4 python -m distgan.train

Rerun the same command to resume a run that was stopped or killed. --helpfull explains every flag.
"""

import signal
import sys

from absl import flags

from distgan import program
from distgan.config import Config, command_line
from distgan.data import sources
from distgan.errors import AloneError, TrainingError, UserError, reason
from distgan.replicas import launcher, watchdog

command_line.define_flags()
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run", False, "Print the networks, memory, communication and length; train nothing."
)
_VALIDATE_DATA = flags.DEFINE_boolean("validate_data", False, "Read all images once, and report them; train nothing.")


def main() -> int:
    """Train with the config of the flags, and return the exit status."""
    config = command_line.from_flags()
    sources.kind_of(str(config.data))
    if _DRY_RUN.value or _VALIDATE_DATA.value:
        return _look(config)
    return watchdog.guard(lambda: _train(config), config.stall_timeout_seconds, config.start_timeout_seconds)


def _look(config: Config) -> int:
    """Print what the flags ask for, on the chief."""
    if launcher.launched_rank() > 0:
        return 0
    program.import_tensorflow()
    from distgan import dry_run

    dry_run.tell(config, of_data=_VALIDATE_DATA.value, of_run=_DRY_RUN.value)
    return 0


def _train(config: Config) -> int:
    program.import_tensorflow()
    watchdog.starts()
    import tensorflow as tf

    from distgan.replicas.connect import connect
    from distgan.training import elastic

    replicas = connect(config)
    watchdog.waits()
    try:
        _, stopped_by = elastic.train(config, replicas)
    except TrainingError as error:
        if replicas.is_chief or isinstance(error, AloneError):
            raise
        return error.exit_status
    except tf.errors.ResourceExhaustedError:
        raise UserError("Out of memory: choose a smaller --batch_size, or smaller networks.") from None
    except tf.errors.OpError as error:
        if replicas.size == 1:
            raise
        lost = f"rank {replicas.rank} lost the connection to the others ({reason(error)})"
        print(f"distgan: {lost}; rerun the command to resume from the last checkpoint.", file=sys.stderr)
        return 1
    return 128 + signal.SIGINT if stopped_by == signal.SIGINT else 0


if __name__ == "__main__":
    program.run(main, command_line.help_text)

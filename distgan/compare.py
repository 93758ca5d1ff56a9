"""Draw several runs on one page.

python -m distgan.compare runs/mnist runs/fashion --output=compare.html
"""

from absl import flags

from distgan import paths, program
from distgan.errors import UserError, sentence_of
from distgan.report import comparison, recorded
from distgan.store import atomic

_OUTPUT = flags.DEFINE_string("output", "compare.html", "The page to write.")


def main(run_dirs: list[str]) -> int:
    """Write the page of the runs in some directories, and return the exit status."""
    if not run_dirs:
        raise UserError("No run directory is given: pass them as plain arguments, e.g. runs/mnist runs/fashion.")
    try:
        runs = [_read(run_dir) for run_dir in dict.fromkeys(run_dirs)]
        atomic.write(paths.local("output", _OUTPUT.value), comparison.make(runs))
    except OSError as error:
        raise UserError(sentence_of(error)) from None
    print(*comparison.summary(runs), _OUTPUT.value, sep="\n")
    return 0


def _read(run_dir: str) -> recorded.Recorded:
    directory = paths.local("run_dir", run_dir)
    if not (directory / recorded.METRICS).exists():
        raise UserError(f"{run_dir} is not a run directory, or nothing is logged yet: no {recorded.METRICS}.")
    return recorded.read(directory)


if __name__ == "__main__":
    program.run_on(main)

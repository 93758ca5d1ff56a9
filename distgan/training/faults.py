"""Files that are no images, told to all processes."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from distgan.data.base import Source, refuse_faults
from distgan.errors import UserError
from distgan.replicas.base import Replicas
from distgan.report.reporter import Reporter


class Faults:
    """Files that are no images: whichever process finds one, all learn of it, and the run ends if there are many."""

    def __init__(self, source: Source, replicas: Replicas, reporter: Reporter) -> None:
        """Tell what was found in opening the data."""
        self._source, self._replicas, self._reporter = source, replicas, reporter
        self._known: dict[str, str] = {}
        self._asked: set[str] = set()
        self.tell()

    def watched(self, batches: Iterator[Any]) -> Any:
        """The next batch. Raises `UserError` where it can't be read."""
        try:
            return next(batches)
        except tf.errors.OpError:
            if self._source.failure is None:
                raise
            raise UserError(self._source.failure) from None

    def are_new(self) -> bool:
        """Whether this process has found files of which it has not yet asked to tell."""
        found = set(self._source.faults) - self._asked
        self._asked |= found
        return bool(found - set(self._known))

    def tell(self) -> None:
        """Name the new ones in a warning. Raises `UserError`, on all processes, where there are too many."""
        for faults in self._replicas.gather(dict(self._source.faults)):
            for path, reason in faults.items():
                if path not in self._known:
                    self._known[path] = reason
                    self._reporter.say(f"warning: {path} is left out: {reason} ({len(self._known)} such files)")
        refuse_faults(self._source.name, self._known, self._source.num_files)

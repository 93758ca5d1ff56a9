"""What a process keeps of a run in its memory, for the others to go on from when some are lost."""

import numpy as np

from distgan.training.state import TrainState


class Commit:
    """A copy of the state of a run after some step; `step` is -1 while there is none."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.step = -1
        self.arrays: dict[str, np.ndarray] = {}

    def keep(self, state: TrainState) -> None:
        """Copy the state, in place of what was kept; waits for the device."""
        arrays = state.arrays()
        self.step, self.arrays = int(arrays["step"]), arrays

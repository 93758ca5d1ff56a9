"""A user's program: settings of its own for Keras, seeds, and distgan called in all the places where users call it.

user_program.py RUN_DIR ...    prints, as JSON, what it saw; a run for each directory, of the same config
"""

import contextlib
import io
import json
import random
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import distgan


class Bare:
    """A stream with no more than `write` and `flush`."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def settings() -> list[Any]:
    """What a user has set, and expects to find again."""
    config = keras.config
    states = [
        repr(random.getstate()),
        repr(np.random.get_state()),
        repr(tf.random.get_global_generator().state.numpy()),
    ]
    own = [config.dtype_policy().name, config.floatx(), config.image_data_format(), config.epsilon()]
    return [*own, *states, sys.stdout is sys.__stdout__, tf.executing_eagerly()]


def train(run_dir: str) -> distgan.Run:
    """Train for three steps; the path and the numbers are as users have them."""
    return distgan.train(
        distgan.Config(
            run_dir=Path(run_dir), filters=np.int64(4), batch_size=np.int32(8), dropout=np.float32(0.25), steps=3,
            seed=1, max_images_per_class=20, precision="float32",
        )
    )  # fmt: skip


def main() -> None:
    keras.config.set_floatx("float16")
    keras.config.set_image_data_format("channels_first")
    keras.config.set_epsilon(1e-2)
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(5)
    before = settings()
    first, second, third = sys.argv[1:]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run = train(first)
    bare = Bare()
    with contextlib.redirect_stdout(bare):
        train(second)
    in_thread = threading.Thread(target=train, args=(third,))
    with contextlib.redirect_stdout(io.StringIO()):
        in_thread.start()
        in_thread.join()
    refused = []
    for ask in (
        lambda: run.generate(-1),
        lambda: run.generate(3, seed=2**63),
        lambda: run.translate(np.zeros((1, 28, 28, 1))),
        lambda: run.generate(2, classes=[1, 2]),
    ):
        try:
            ask()
        except distgan.UserError as error:
            refused.append(str(error))
    loaded = distgan.load(Path(first))
    seen = {
        "kept": settings() == before,
        "settings": settings()[:4],
        "printed": "finished at step 3" in printed.getvalue(),
        "bare": "finished at step 3" in bare.text,
        "none": loaded.generate(0).shape,
        "no_translations": run.translate([]).shape,
        "some": loaded.generate(2).shape,
        "refused": refused,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()

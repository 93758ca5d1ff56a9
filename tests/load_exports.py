"""Loads exports where distgan can't be imported, and writes down what they give, for test_export.py to compare.

The directory named on the command line says of each export what is to be called in it, and with which inputs.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.modules["distgan"] = None  # type: ignore[assignment]  # an import of it fails


def outputs(path: str, signature: str | None, inputs: dict[str, np.ndarray]) -> np.ndarray:
    if signature is None:
        model = keras.saving.load_model(path)
        assert all(layer.compute_dtype == layer.variable_dtype == "float32" for layer in model.layers)
        return model(inputs["inputs"]).numpy()
    loaded = tf.saved_model.load(path)
    return loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})[
        "pixels"
    ].numpy()


def main() -> None:
    directory = Path(sys.argv[1])
    for number, (path, signature) in enumerate(json.loads((directory / "asked.json").read_text())):
        with np.load(directory / f"{number}.npz") as inputs:
            np.save(directory / f"{number}.npy", outputs(path, signature, dict(inputs)))


if __name__ == "__main__":
    main()

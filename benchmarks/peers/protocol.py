"""What every peer is asked by `peers.py`, and what it answers: one line of JSON."""

import argparse
import json


def asked(description: str) -> argparse.Namespace:
    """The arguments of a peer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", required=True, help="a .npy file of uint8 [num_examples, 28, 28, 1]")
    parser.add_argument("--batch_size", type=int, default=256, help="images a step, of all processes together")
    parser.add_argument("--warm_up_steps", type=int, default=5, help="steps before the measured ones; at least 1")
    parser.add_argument("--steps", type=int, default=30, help="measured steps")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    return parser.parse_args()


def answer(given: argparse.Namespace, finished: list[float], parameters: dict[str, int]) -> None:
    """Print the speed, from when each step was finished, in seconds, and the trainable parameters of each network."""
    seconds = finished[-1] - finished[given.warm_up_steps - 1]
    rate = given.steps * given.batch_size / seconds
    print(json.dumps({"seconds": seconds, "images_per_second": rate, "parameters": parameters}), flush=True)

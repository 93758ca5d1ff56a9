"""How much faster is training on CPUs with oneDNN, which distgan turns on where TensorFlow does not?

    python benchmarks/onednn.py                                        # half an hour on 2 cores
    python benchmarks/onednn.py --rounds=1 --steps=4 --cases=mlp       # a minute

Trains each case with TF_ENABLE_ONEDNN_OPTS=0 and 1 in fresh processes, in turn, with all cores. On processors with
AVX-512, TensorFlow's default is 1. Prints a table and writes results/onednn_*.json.
"""

import argparse
import itertools
import os
import statistics
from typing import Any

import launching
import record
from launching import Layout

CASES = {
    "mnist": "--preset=mnist",
    "mnist_best": "--preset=mnist_best --evaluate_every=never",
    "mlp": "--preset=mlp",
    "dcgan": "--preset=dcgan --data=emoji",
    "faces": "--preset=faces --data=emoji --image_size=32x32",
    "rgb_best": "--preset=rgb_best --data=emoji --image_size=32x32 --evaluate_every=never",
    "r3gan": "--preset=r3gan --data=emoji --image_size=32x32 --evaluate_every=never",
    "pix2pix": f"--config={launching.ROOT}/launch/emoji-styles.json",
    "cyclegan": f"--config={launching.ROOT}/launch/emoji-domains.json",
}
ALL_CORES = Layout("single", crowded=True)


def main() -> None:
    given = _arguments()
    cases = list(itertools.product(given.cases.split(","), ("0", "1")))

    def speed(case: tuple[str, str]) -> float:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = case[1]
        flags = [*CASES[case[0]].split(), "--learning_rate_schedule=constant", "--checkpoint_every=never"]
        return launching.train(ALL_CORES, flags, given.steps)

    found = launching.in_turn(cases, given.rounds, speed)
    rows = [_row(name, found[name, "0"], found[name, "1"]) for name in given.cases.split(",")]
    launching.print_table(
        ["case", "images/s without", "with", "ratio of medians"],
        (
            [row["case"], *map(launching.spread, row["images_per_second"].values()), f"{row['ratio']:.2f}"]
            for row in rows
        ),
    )
    print(record.write("onednn", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--cases", default=",".join(CASES))
    return parser.parse_args()


def _row(case: str, without: list[float], given: list[float]) -> dict[str, Any]:
    ratio = statistics.median(given) / statistics.median(without)
    return {"case": case, "images_per_second": {"without": without, "with": given}, "ratio": ratio}


if __name__ == "__main__":
    main()

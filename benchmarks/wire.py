"""On which link does a rounded wire pay?

    python benchmarks/wire.py                                           # as root; most of an hour
    python benchmarks/wire.py --rounds=1 --steps=5 --links_gbits=1      # some minutes

Two processes of Horovod, one core each, train with --wire_dtype=float32 and bfloat16, with synchronised batch norm and
without, over the loopback as it is (memory, in truth) and slowed down by `tc` to links of so many Gbit/s in each
direction. All in turn, round after round; the gain is the ratio within a round. Prints a table and writes
results/wire_*.json.
"""

import argparse
import statistics
from typing import Any, NamedTuple

import launching
import record
from launching import Layout


class Cell(NamedTuple):
    """One way to train over one link; gigabits is None for the loopback as it is."""

    gigabits: float | None
    normalization: str
    wire_dtype: str


def main() -> None:
    given = _arguments()
    links = [None, *(float(link) for link in given.links_gbits.split(",") if link)]
    cells = [
        Cell(link, normalization, wire_dtype)
        for link in links for normalization in ("sync", "local") for wire_dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    rates = launching.in_turn(cells, given.rounds, lambda cell: _images_per_second(cell, given))
    rows = [_row(cell, rates) for cell in cells]
    launching.print_table(
        ["link, Gbit/s", "batch norm", "wire", "images/s, median (range)", "float32's, times (range)"],
        (
            [
                row["gigabits"] or "memory", row["normalization"], row["wire_dtype"],
                launching.spread(row["images_per_second"]), launching.spread(row["gains"], ".2f"),
            ]
            for row in rows
        ),
    )  # fmt: skip
    print(record.write("wire", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help=f"measured, after {launching.WARM_UP_STEPS} to warm up")
    parser.add_argument("--batch_size", type=int, default=256, help="images a step of both processes")
    parser.add_argument("--links_gbits", default="10,1", help="besides the loopback as it is")
    return parser.parse_args()


def _images_per_second(cell: Cell, given: argparse.Namespace) -> float:
    flags = {"normalization": cell.normalization, "wire_dtype": cell.wire_dtype, "batch_size": given.batch_size}
    with launching.loopback_at(cell.gigabits):
        return launching.train(Layout("horovod", 2), launching.as_flags(flags), given.steps)


def _row(cell: Cell, rates: dict[Cell, list[float]]) -> dict[str, Any]:
    plain = rates[cell._replace(wire_dtype="float32")]
    gains = [own / other for own, other in zip(rates[cell], plain, strict=True)]
    return cell._asdict() | {
        "images_per_second": rates[cell], "median_images_per_second": statistics.median(rates[cell]),
        "gains": gains, "median_gain": statistics.median(gains),
    }  # fmt: skip


if __name__ == "__main__":
    main()

"""On which link does a rounded wire pay?

    python benchmarks/wire.py                                           # as root; most of an hour
    python benchmarks/wire.py --rounds=1 --steps=5 --links_gbits=1      # some minutes

Two processes of Horovod, one core each, train with --wire_dtype=float32 and bfloat16, with synchronised batch norm and
without. Each is on a host of its own (virtual_hosts.py), with cables of so many Gbit/s each way, or as fast as the
kernel makes them. All in turn, round after round; the gain is the ratio within a round. Prints a table and writes
results/wire_*.json.
"""

import argparse
import statistics
import sys
from typing import Any, NamedTuple

import launching
import record
from launching import Layout
from virtual_hosts import HostsError, VirtualHosts, virtual_hosts


class Cell(NamedTuple):
    """One way to train over one link; gbits is None for a link as fast as the kernel makes it."""

    gbits: float | None
    normalization: str
    wire_dtype: str


def main() -> None:
    given = _arguments()
    links = [None, *(float(link) for link in given.links_gbits.split(",") if link)]
    cells = [
        Cell(link, normalization, wire_dtype)
        for link in links for normalization in given.normalizations.split(",") for wire_dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    try:
        with virtual_hosts(2) as hosts:
            rates = launching.in_turn(cells, given.rounds, lambda cell: _images_per_second(hosts, cell, given))
    except HostsError as error:
        sys.exit(str(error))
    rows = [_row(cell, rates) for cell in cells]
    launching.print_table(
        ["link, Gbit/s", "batch norm", "wire", "images/s, median (range)", "float32's, times (range)"],
        (
            [
                row["gbits"] or "any", row["normalization"], row["wire_dtype"],
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
    parser.add_argument("--links_gbits", default="10,1", help="besides one as fast as can be")
    parser.add_argument("--normalizations", default="sync,local")
    parser.add_argument("--delay_ms", type=float, help="from one host to the other, on a kernel with netem")
    return parser.parse_args()


def _images_per_second(hosts: VirtualHosts, cell: Cell, given: argparse.Namespace) -> float:
    flags = {"normalization": cell.normalization, "wire_dtype": cell.wire_dtype, "batch_size": given.batch_size}
    hosts.slow(cell.gbits, given.delay_ms)
    return launching.train(Layout("horovod", 2), launching.as_flags(flags), given.steps, hosts)


def _row(cell: Cell, rates: dict[Cell, list[float]]) -> dict[str, Any]:
    plain = rates[cell._replace(wire_dtype="float32")]
    gains = [own / other for own, other in zip(rates[cell], plain, strict=True)]
    return cell._asdict() | {
        "images_per_second": rates[cell], "median_images_per_second": statistics.median(rates[cell]),
        "gains": gains, "median_gain": statistics.median(gains),
    }  # fmt: skip


if __name__ == "__main__":
    main()

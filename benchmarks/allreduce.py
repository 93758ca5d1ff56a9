"""How long does an all-reduce take, by the size of what is summed?

    python benchmarks/allreduce.py                                                                    # about 20 minutes
    python benchmarks/allreduce.py --rounds=1 --repetitions=5 --sizes=4096,1048576 --libraries=socket,horovod    # short
    python benchmarks/allreduce.py --flags="--wire_dtype=bfloat16" --cycles_ms=0.1,5 --fusions_mib=0

Gradients of so many bytes in all, in --tensors equal parts, are summed by distgan's own way through the library, in a
compiled function, as in a step. Each library, each of Horovod's cycle times and fusion buffers (the others as they are)
and each --flags runs in fresh processes, one core each, all in turn, round after round; an all-reduce of a size is
repeated in each. "mpi" is Horovod through Open MPI, where that is installed: in one machine, by memory that processes
share. With a cycle time, Horovod's thread runs by the clock; distgan has it wait for work. Horovod as distgan has it
comes last.

The bound is "socket": the 2 (n - 1) / n of the bytes that each of n processes must send in any all-reduce of which each
process has its part, sent around a ring of bare TCP sockets, with nothing agreed on and nothing added. Bandwidth is
these bytes a second too. Prints a table and writes results/allreduce_*.json.
"""

import argparse
import json
import shlex
import socket
import statistics
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import launching
import record
from launching import Layout


class Case(NamedTuple):
    """A way to sum, with its settings; None is the library's own."""

    library: str
    processes: int
    cycle_ms: float | None = None
    fusion_mib: float | None = None
    flags: str = ""


def main() -> None:
    given = _arguments()
    if given.answer_to:
        measured = sockets(given) if given.ports else all_reduces(given)
        if measured:
            given.answer_to.write_text(json.dumps(measured))
        return
    cases = _cases(given)
    found = launching.in_turn(cases, given.rounds, lambda case: _ask(case, given))
    rows = [
        case._asdict() | {"wire_dtype": _wire_dtype(case), "bytes": int(size), "tensors": given.tensors,
                          "seconds": [second for one in rounds for second in one[size]]}
        for case, rounds in found.items()
        for size in rounds[0]
    ]  # fmt: skip
    _print_table(rows)
    print(record.write("allreduce", vars(given), rows))


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of fresh processes")
    parser.add_argument("--repetitions", type=int, default=20, help="of each size in a round, after 3 to warm up")
    parser.add_argument("--sizes", default="4096,65536,1048576,10485760,67108864", help="bytes")
    parser.add_argument("--tensors", type=int, default=16, help="that the bytes are dealt to")
    parser.add_argument("--counts", default="2", help="numbers of processes")
    parser.add_argument("--libraries", default="socket,mirrored,multiworker,horovod")
    parser.add_argument("--cycles_ms", default="0.1,1,5", help="cycles of Horovod by the clock, to compare")
    parser.add_argument("--fusions_mib", default="0", help="Horovod's fusion buffers to compare with its own, 128 MiB")
    parser.add_argument("--flags", action="append", help="of distgan.train, to compare; for Horovod")
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _cases(given: argparse.Namespace) -> list[Case]:
    cases = []
    for count in map(int, given.counts.split(",")):
        libraries = given.libraries.split(",")
        cases += [Case(library, count) for library in libraries if library != "horovod"]
        if "horovod" in libraries:
            cases += [
                Case("horovod", count, cycle_ms=float(cycle)) for cycle in filter(None, given.cycles_ms.split(","))
            ]
            cases += [
                Case("horovod", count, fusion_mib=float(mib)) for mib in filter(None, given.fusions_mib.split(","))
            ]
            cases += [Case("horovod", count, flags=flags) for flags in [*(given.flags or []), ""]]
    return cases


def _wire_dtype(case: Case) -> str:
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in shlex.split(case.flags))
    return flags.get("wire_dtype", "float32")


def _ask(case: Case, given: argparse.Namespace) -> dict[str, list[float]]:
    arguments = [f"--sizes={given.sizes}", f"--tensors={given.tensors}", f"--repetitions={given.repetitions}"]
    if case.library == "socket":
        ports = ",".join(str(launching.free_port()) for _ in range(case.processes))
        return launching.ask(Layout("apart", case.processes), __file__, *arguments, f"--ports={ports}",
                             "--process={process}")  # fmt: skip
    environment: dict[str, str] = {}
    if case.cycle_ms is not None:
        environment |= {"HOROVOD_CYCLE_TIME": str(case.cycle_ms), "HOROVOD_IDLE_TIME": "0"}
    if case.fusion_mib is not None:
        environment["HOROVOD_FUSION_THRESHOLD"] = str(int(case.fusion_mib * 2**20))
    layout = Layout(case.library, case.processes)
    flags = shlex.join([*launching.backend_flags(layout), *shlex.split(case.flags)])
    return launching.ask(layout, __file__, *arguments, f"--flags={flags}", **environment)


def all_reduces(given: argparse.Namespace) -> dict[int, list[float]] | None:
    """Seconds of each all-reduce by size, on the chief."""
    import numpy as np
    import tensorflow as tf

    from distgan.replicas.base import Move
    from distgan.replicas.connect import connect

    config = launching.config_of(shlex.split(given.flags[0]))
    replicas = connect(config)
    ends: list[tf.Tensor] = []

    def keep_ends(optimizer: Any, gradients: list[tf.Tensor], variables: Any) -> None:
        ends.extend(gradient[0] for gradient in gradients)

    launching.wrap(replicas, "apply", lambda _: keep_ends)

    def sum_once(*gradients: tf.Tensor) -> tf.Tensor:
        ends.clear()
        move = Move(SimpleNamespace(name="none"), list(gradients), [])
        replicas.update([move], {}, config.wire_dtype)
        return tf.add_n(ends)  # one number of each: all are awaited, and nothing else is computed

    found = {}
    for size in map(int, given.sizes.split(",")):
        numbers = max(1, size // 4 // given.tensors)
        gradients = [replicas.place(np.ones(numbers, np.float32)) for _ in range(given.tensors)]
        compiled = replicas.compile(sum_once)
        found[size] = _repeated(lambda: compiled(*gradients).numpy(), given.repetitions)  # noqa: B023 - called here
    return found if replicas.is_chief else None


def sockets(given: argparse.Namespace) -> dict[int, list[float]] | None:
    """Seconds that the bytes of an all-reduce take around a ring, by size, on the first process."""
    ports, process = [int(port) for port in given.ports.split(",")], given.process
    with socket.create_server(("localhost", ports[process])) as server:
        after = _connected(ports[(process + 1) % len(ports)])
        before, _ = server.accept()
    for end in (before, after):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found = {}
    for size in map(int, given.sizes.split(",")):
        sent = bytes(2 * size * (len(ports) - 1) // len(ports))
        room = bytearray(len(sent))

        def exchange(sent: bytes = sent, room: bytearray = room) -> None:
            sender = threading.Thread(target=after.sendall, args=(sent,))
            sender.start()
            place = memoryview(room)
            while place:
                place = place[before.recv_into(place) :]
            sender.join()

        found[size] = _repeated(exchange, given.repetitions)
    return found if process == 0 else None


def _connected(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("localhost", port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit(f"Nobody listens on port {port}.")


def _repeated(function: Any, repetitions: int) -> list[float]:
    seconds = []
    for _ in range(3 + repetitions):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return seconds[3:]


def _print_table(rows: list[dict[str, Any]]) -> None:
    medians = {(row["library"], row["processes"], row["bytes"]): statistics.median(row["seconds"]) for row in rows}
    cells = []
    for row in rows:
        own, count = statistics.median(row["seconds"]), row["processes"]
        bound = medians.get(("socket", count, row["bytes"]), float("nan"))
        cells.append([
            row["library"], count, row["cycle_ms"] or "-", "-" if row["fusion_mib"] is None else row["fusion_mib"],
            row["flags"] or "-", f"{row['bytes']:,}", launching.spread([1000 * one for one in row["seconds"]], ".3f"),
            f"{2 * (count - 1) / count * row['bytes'] / own / 1e9:.3f}", f"{own / bound:.1f}",
        ])  # fmt: skip
    launching.print_table(["library", "processes", "cycle, ms", "fusion, MiB", "flags", "bytes",
                           "ms, median (range)", "GB/s", "times the bound"], cells)  # fmt: skip


if __name__ == "__main__":
    main()

"""What of a run grows with its ranks? The control code of up to 4,096 ranks, in one process.

    python benchmarks/simulate.py                                   # half an hour of a core
    python benchmarks/simulate.py --ranks=8 --rounds=1 --changes=3  # a minute

Real, distgan's own code on each rank: the shares of the batches and their examples; the votes; opening the data, taking
and restoring the run directory, the environment, bad files; what a checkpoint compares and writes; the restarts of an
elastic job; the meeting of the ranks for TF_CONFIG and in horovodrun's store; a Slurm job's variables; the parts of an
evaluation. A model: communication is a sum in this process, so ranks run one after the other (`simulated_ranks.run`);
there are no sockets; no step computes anything, and all ranks hold one state. One pipeline makes the shares of all
ranks, as for the devices of one process; some ranks make theirs by themselves too, and the two are compared.

It checks that each example is shown once an epoch and in the order of a single rank, on a fixed number of ranks and
through --changes changes of it; that all ranks find the same; and that a failure or another value on one rank is known
to all. It prints what each rank sums (a ring sends 2(n - 1)/n times these bytes) and how that grows, and adds to
results/simulate_*.json, so that numbers of ranks can be run one after the other.
"""

import argparse
import asyncio
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import launching
import numpy as np
import record


def main() -> None:
    given = _arguments()
    from distgan.program import import_tensorflow

    import_tensorflow()
    import simulated_agreements
    import simulated_training

    for ranks in map(int, given.ranks.split(",")):
        print(f"{ranks} ranks", flush=True)
        random = np.random.default_rng(ranks)
        checked = {"epochs, fixed": simulated_training.train(ranks, 64)}
        with tempfile.TemporaryDirectory() as run_dir:
            figures: dict[str, float] = {**simulated_agreements.count(ranks, run_dir)}
        figures |= _meeting(ranks) | _evaluation(ranks) | _seconds(ranks, given.rounds)
        record.add("simulate", {"ranks": ranks}, checked=checked, figures=figures)
        checked |= simulated_training.train_elastically(ranks, given.changes, random)
        path = record.add("simulate", {"ranks": ranks}, checked=checked, figures=figures)
    rows = sorted(record.every("simulate"), key=lambda row: row["case"]["ranks"])
    counts = [row["case"]["ranks"] for row in rows]
    launching.print_table(
        ["of each rank, or as named", *(f"{count:,} ranks" for count in counts), "grows"],
        ([name, *(_short(row["figures"][name]) for row in rows),
          _growth(counts, [row["figures"][name] for row in rows])] for name in rows[0]["figures"]),
    )  # fmt: skip
    checks = list(rows[0]["checked"])
    launching.print_table(["ranks", *checks], ([count, *(row["checked"].get(check, "-") for check in checks)]
                                               for count, row in zip(counts, rows, strict=True)))  # fmt: skip
    print(path)


def _arguments() -> argparse.Namespace:
    parser = launching.parser(__doc__)
    parser.add_argument("--ranks", default="1,8,64,512,4096")
    parser.add_argument("--rounds", type=int, default=5, help="of the measurements of time")
    parser.add_argument("--changes", type=int, default=100, help="of the number of ranks in an elastic job")
    return parser.parse_args()


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _growth(counts: list[int], values: list[float]) -> str:
    """How a figure grows from two ranks on, and from which number of ranks it is more than twice the first."""
    several = [(count, value) for count, value in zip(counts, values, strict=True) if count > 1]
    if len(several) < 2:
        return "-"
    first, (before, last_but_one), (most, last) = several[0][1], *several[-2:]
    if not last_but_one or last <= 1.1 * first:
        return "constant" if last >= 0.9 * first else "falls"
    power = math.log(last / last_but_one, most / before)
    beyond = next((count for count, value in several if value > 2 * first), most)
    return f"ranks^{power:.1f}; doubled at {beyond:,}"


# ---- how ranks meet


def _meeting(ranks: int) -> dict[str, int]:
    """Messages and bytes by which ranks meet that srun or horovodrun started."""
    from simulated_ranks import alike

    from distgan.replicas import cluster, launcher, rendezvous

    hosts = max(1, ranks // 8)
    job = {"SLURM_STEP_NUM_TASKS": str(ranks), "SLURM_STEP_TASKS_PER_NODE": f"8(x{hosts})",
           "SLURM_STEP_NODELIST": f"node[0001-{hosts:04d}]", "SLURM_JOB_ID": "12345", "SLURM_STEP_ID": "0"}  # fmt: skip
    environments = [job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % 8)} for rank in range(ranks)]
    sent = {"reports to rank 0, bytes in all": 0, "addresses from rank 0, bytes in all": 0, "TF_CONFIG, bytes": 0}
    if ranks > 1:
        launches = [cluster._Launch.of(environment) for environment in environments]
        alike([launch._replace(rank=0) for launch in launches])
        if [launcher.launched_rank(environment) for environment in environments] != list(range(ranks)):
            raise RuntimeError("Slurm's ranks are not those of the run")
        sent = asyncio.run(_meet(launches))
    requests = itertools.count()
    with mock.patch.object(rendezvous, "_ask", lambda *_: next(requests) >= 0):  # all are there already
        for rank in range(ranks if ranks > 1 else 0):
            rendezvous.meet(("store", 0), rank, ranks, 60.0)
    asked = next(requests)
    return {"requests to horovodrun's store, in all": asked, "connections of rank 0 at once": ranks - 1, **sent}


async def _meet(launches: list[Any]) -> dict[str, int]:
    """Have rank 0 receive the reports of all others, and tell them the addresses of all."""
    from distgan.replicas import cluster

    chief, *others = launches
    meeting, ends = cluster._Chief(chief), []
    for launch in others:
        reader, writer = asyncio.StreamReader(), _Writer()
        host = f"10.{launch.rank // 2048}.{launch.rank // 8 % 256}.1"
        report = f"{launch.job} {launch.rank} {launch.size} {40_000 + launch.rank} {host}\n".encode()
        reader.feed_data(report)
        task = asyncio.create_task(meeting.receive(reader, writer))  # type: ignore[arg-type]
        ends.append((reader, writer, task, len(report)))
    await meeting.all_are_here
    addresses = meeting.addresses(40_000)
    await meeting.tell("workers", *addresses)
    for reader, writer, task, _ in ends:
        reader.feed_eof()
        await task
        if writer.sent.split()[2:] != [address.encode() for address in addresses]:
            raise RuntimeError("a rank is not told the addresses of all")
        if len(writer.sent) > cluster.ANSWER_BYTES:
            raise RuntimeError("the addresses are longer than a rank reads")
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": chief.rank}}
    return {
        "reports to rank 0, bytes in all": sum(length for *_, length in ends),
        "addresses from rank 0, bytes in all": sum(len(writer.sent) for _, writer, *_ in ends),
        "TF_CONFIG, bytes": len(json.dumps(config)),
    }


class _Writer:
    """The end of a connection to a rank that reports."""

    def __init__(self) -> None:
        self.sent = b""

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return "10.0.0.1", 30_000

    def write(self, words: bytes) -> None:
        self.sent += words

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


def _evaluation(ranks: int) -> dict[str, int]:
    """The images of 10,000 that ranks measure, in whole parts."""
    from simulated_ranks import SimulatedReplicas

    from distgan.metrics.quality import _own_parts

    count = 10_000
    of_ranks = [[number for part in _own_parts(count, SimulatedReplicas(rank, ranks))
                 for number in range(part.start, part.stop)] for rank in range(ranks)]  # fmt: skip
    if [number for own in of_ranks for number in own] != list(range(count)):
        raise RuntimeError(f"{ranks} ranks do not measure each image once")
    return {"evaluation, images of the busiest rank": max(map(len, of_ranks))}


# ---- the host's part of a step


def _seconds(ranks: int, rounds: int) -> dict[str, float]:
    """Bytes of the flags and of a log line, and medians of the milliseconds of rank 0 for a step and for a log."""
    import tensorflow as tf
    from simulated_ranks import SimulatedReplicas
    from simulated_training import batch_size, shares

    from distgan.replicas.base import Shard
    from distgan.replicas.votes import STARTING_CALLS, Exchange, Votes
    from distgan.training.health import Health

    own_shares, health = shares(Shard(0, 1, ranks), batch_size(ranks)), Health()
    exchange = Exchange(SimulatedReplicas(0, ranks))
    found: dict[str, list[float]] = {"share of a step, ms": [], "votes of a step, ms": [], "a log, ms": []}

    def time_of(name: str, function: Callable[[], Any], times: int) -> Any:
        started = time.perf_counter()
        for _ in range(times):
            result = function()
        found[name].append(1000 * (time.perf_counter() - started) / times)
        return result

    def vote() -> tf.Tensor:
        flags = exchange.send(Votes(), 0.001)
        exchange.receive(flags)
        return flags

    def log() -> dict[str, float]:
        values = exchange.seconds_since_log()
        health.of_training(values)
        return values

    next(own_shares)
    for _ in range(rounds):
        time_of("share of a step, ms", lambda: next(own_shares), 256)
        flags = time_of("votes of a step, ms", vote, 64 + STARTING_CALLS)
        values = time_of("a log, ms", log, 1)
    return {
        "flags of a step, bytes": flags.numpy().nbytes,
        "speeds by rank in a line of metrics.jsonl, bytes": len(json.dumps(values)),
        **{name: statistics.median(times) for name, times in found.items()},
    }


if __name__ == "__main__":
    main()

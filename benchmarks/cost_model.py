"""What a step costs on many devices: arithmetic, launches, all-reduces by alpha and beta, overlap and stragglers.

An all-reduce is priced as NCCL prices it (src/graph/tuning.cc): a latency a hop, and bytes over a bandwidth. Networks
are two links: one between the devices of a node, one that the devices of a node share to reach the other nodes.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

ALGORITHMS = ("ring", "tree", "hierarchical")
# NCCL's protocols: the quick one (LL) sends a flag with each word, and so has a quarter of the bandwidth.
BANDWIDTH_SHARES = {"quick": 1 / 4, "bulk": 1.0}
BUCKET_BYTES = 32 * 2**20  # distgan/replicas/hvd.py
BACKWARD_SHARE = 2 / 3  # of the arithmetic: gradients of inputs and of weights cost as much as the forward pass each


class Link(NamedTuple):
    """Bytes a second in each direction, and seconds a hop by ("ring" or "tree", protocol)."""

    bytes_per_second: float
    hop_seconds: Mapping[tuple[str, str], float]


class Fabric(NamedTuple):
    """Nodes of `per_node` devices. `across` is what a whole node has; `start_seconds` is paid once an all-reduce.

    An all-reduce that others wait for also waits for Horovod's next cycle, and for the processes to agree that it is
    ready: one more small all-reduce.
    """

    name: str
    per_node: int
    inside: Link
    across: Link
    start_seconds: Mapping[tuple[str, str], float] = {}
    cycle_seconds: float = 0.0
    algorithms: tuple[str, ...] = ALGORITHMS

    def all_reduce(self, num_bytes: float, count: int) -> float:
        """Seconds of an all-reduce between `count` devices, by the fastest algorithm and protocol."""
        if count == 1:
            return 0.0
        return min(
            self.by(algorithm, protocol, num_bytes, count)
            for algorithm in self.algorithms
            for protocol in BANDWIDTH_SHARES
        )

    def awaited(self, num_bytes: float, count: int) -> float:
        """Seconds of an all-reduce that the step waits for."""
        return 0.0 if count == 1 else self.cycle_seconds + self.all_reduce(4, count) + self.all_reduce(num_bytes, count)

    def by(self, algorithm: str, protocol: str, num_bytes: float, count: int) -> float:
        """Seconds of an all-reduce by one algorithm and protocol.

        ring: 2(n - 1) hops of 1/n of the bytes, of which 2 a node, but for the ends, cross the network.
        tree: up a chain in each node and a tree over the nodes, and down again (Sanders et al. 2009).
        hierarchical: reduce-scatter in each node, rings over the nodes, gather in each node, one after the other.
        """
        devices, nodes = min(count, self.per_node), -(-count // self.per_node)
        shape = "tree" if algorithm == "tree" else "ring"
        start = self.start_seconds.get((shape, protocol), 0.0)
        near, far = (link.hop_seconds[shape, protocol] for link in (self.inside, self.across))
        inside, across = (link.bytes_per_second * BANDWIDTH_SHARES[protocol] for link in (self.inside, self.across))
        narrowest = inside if nodes == 1 else min(inside, across)
        if algorithm == "ring":
            crossing = 2 * (nodes - 1)
            hops = (2 * (count - 1) - crossing) * near + crossing * far
            return start + hops + 2 * (count - 1) / count * num_bytes / narrowest
        if algorithm == "tree":
            return start + 2 * ((devices - 1) * near + math.log2(nodes) * far) + 2 * num_bytes / narrowest
        return (
            3 * start + 2 * (devices - 1) * near + 2 * (devices - 1) / devices * num_bytes / inside
            + 2 * (nodes - 1) * far + 2 * (nodes - 1) / nodes * num_bytes / across
        )  # fmt: skip


def plain_link(bytes_per_second: float, hop_seconds: float) -> Link:
    """A link whose hops all cost the same."""
    return Link(bytes_per_second, {(shape, way): hop_seconds for shape in ("ring", "tree") for way in BANDWIDTH_SHARES})


class Device(NamedTuple):
    """Arithmetic a second that a network gets out of a device, seconds to launch a kernel, and a step's jitter.

    `variation` is the standard deviation of a step's seconds, as a part of them.
    """

    flops_per_second: float
    launch_seconds: float
    variation: float


class Workload(NamedTuple):
    """A step of a recipe.

    batch: the recipe's global batch.
    flops_per_image: forward and backward passes of all phases.
    kernels: launches a step.
    updates: bytes of the gradients of each phase.
    norms: small all-reduces that wait for one another, of `norm_bytes` each.
    shared_bytes_per_image: what every replica is told of each image of the global batch (CycleGAN's histories).
    """

    name: str
    batch: int
    flops_per_image: float
    kernels: int
    updates: tuple[float, ...]
    norms: int = 0
    norm_bytes: float = 0.0
    shared_bytes_per_image: float = 0.0


def step_parts(work: Workload, count: int, batch: int, fabric: Fabric, device: Device) -> dict[str, float]:
    """Where the seconds of a step of `batch` images on `count` devices go; their sum is the step.

    Gradients of more than `BUCKET_BYTES` go in buckets, during the backward pass; only what sticks out of it counts.
    """
    arithmetic = -(-batch // count) * work.flops_per_image / device.flops_per_second
    launches = work.kernels * device.launch_seconds
    backward = BACKWARD_SHARE * (arithmetic + launches) / len(work.updates)
    gradients = 0.0
    for num_bytes in work.updates:
        buckets = math.ceil(num_bytes / BUCKET_BYTES)
        ready = [(num_bytes / buckets, backward * (number + 1) / buckets) for number in range(buckets)]
        gradients += overlapped(ready, lambda size: fabric.awaited(size, count)) - backward
    return {
        "arithmetic": arithmetic,
        "launches": launches,
        "batch norms": work.norms * fabric.awaited(work.norm_bytes, count),
        "gradients": gradients,
        "history": fabric.awaited(work.shared_bytes_per_image * batch, count) if work.shared_bytes_per_image else 0.0,
        "stragglers": waiting(arithmetic + launches, device.variation, count, 1 + work.norms),
    }


def overlapped(
    ready: list[tuple[float, float]], seconds_of: Callable[[float], float], fusion_bytes: float = 0.0
) -> float:
    """When the last of several all-reduces is done, each of (bytes, seconds at which they are ready), one at a time.

    What is ready when one begins goes along with it, up to `fusion_bytes` in all (Horovod's tensor fusion).
    """
    end, number = 0.0, 0
    while number < len(ready):
        num_bytes, at = ready[number]
        begin, number = max(end, at), number + 1
        while number < len(ready) and ready[number][1] <= begin and num_bytes + ready[number][0] <= fusion_bytes:
            num_bytes, number = num_bytes + ready[number][0], number + 1
        end = begin + seconds_of(num_bytes)
    return end


def waiting(seconds: float, variation: float, count: int, meetings: int = 1) -> float:
    """Seconds that `count` devices wait for the slowest, where they meet several times in a step.

    Times are taken as normal and independent, from stretch to stretch too: each of m stretches has 1/sqrt(m) of the
    step's deviation, and m maxima are waited for.
    """
    return seconds * variation * math.sqrt(meetings) * expected_maximum(count)


def expected_maximum(count: int) -> float:
    """Of `count` standard normal numbers (Blom 1958)."""
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))

"""Where does training stop scaling? A model of cost, and how well it predicts what is measured and published.

    python benchmarks/project.py [--sustained_tflops=58] [--wire_bytes=4] [--variation=0.002]

Three tables, two pictures (docs/scaling_weak.png, docs/scaling_strong.png) and results/project_*.json:

published   efficiencies and speed-ups of Horovod on up to 512 GPUs and of StyleGAN3, and what the model says of them
here        images a second of several processes, predicted from results/scaling_*.json for one, and from
            results/allreduce_*.json, where there is one, for what an all-reduce costs
presets     weak and strong scaling of each preset to 4,096 GPUs: where it ends, by what, and what would move that; with
            batch norm over the global batch (sync, which the pictures show), over shares (local), and compiled too

No constant is fitted to what it is to predict. The presets' speed on a GPU is NOT measured: it is their arithmetic over
the rate that ResNet-50 reaches, and a launch for each kernel, or none where XLA has compiled them. The last table is a
projection.
"""

import argparse
import itertools
import math
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import record
from cost_model import BACKWARD_SHARE, Device, Fabric, Link, Workload, overlapped, plain_link, step_parts, waiting

# Seconds a hop and a start, NCCL's own (src/graph/tuning.cc of 2.10, hwLat and baseLat: LL is quick, Simple is bulk).
WAYS = (("ring", "quick"), ("ring", "bulk"), ("tree", "quick"), ("tree", "bulk"))
NVLINK_HOPS = dict(zip(WAYS, (0.47e-6, 3.4e-6, 0.52e-6, 28e-6), strict=True))
PCIE_HOPS = dict(zip(WAYS, (1.0e-6, 5.7e-6, 1.0e-6, 28e-6), strict=True))
NETWORK_HOPS = dict(zip(WAYS, (2.7e-6, 9.6e-6, 5.0e-6, 50e-6), strict=True))
STARTS = dict(zip(WAYS, (3.6e-6, 8.4e-6, 4.4e-6, 0.0), strict=True))
PCIE = Link(12e9, PCIE_HOPS)  # PCIe 3.0 x16, as NCCL counts it (src/graph/topo.h, PCI_WIDTH)
# Of 25 Gbit/s, payloads of 1,024 bytes in RoCE v2 frames of 1,106 (Ethernet's preamble and gap, IP, UDP, BTH and CRCs).
ROCE_25 = Link(25e9 / 8 * 1024 / 1106, NETWORK_HOPS)
NVLINK_A100 = Link(235e9, NVLINK_HOPS)  # tuning.cc: busBw of compute capability 8.0
NVLINK_H100 = Link(
    370e9, NVLINK_HOPS
)  # NCCL's maintainers: "an effective NVLink bandwidth of 370GB/s" (nccl-tests #212)
NDR_8 = Link(8 * 47e9, NETWORK_HOPS)  # the same: "46-48GB/s per NIC" of 400 Gbit/s (nccl-tests #290)
CYCLE_SECONDS = 1e-4  # distgan/replicas/hvd.py, on GPUs
FABRICS = (
    Fabric("PCIe + 25 GbE", 4, PCIE, ROCE_25, STARTS, CYCLE_SECONDS),
    Fabric("NVLink + 8x400 Gb IB", 8, NVLINK_H100, NDR_8, STARTS, CYCLE_SECONDS),
)
TRAINED = ("sync", "local", "local, compiled")  # how a preset is
COUNTS = [2**power for power in range(13)]  # of GPUs
LEAST_EFFICIENCY = 0.9
JITTER = 0.3 / 139.4  # of a GPU's step: tf_cnn_benchmarks prints 139.4 images/s, jitter 0.3 (tensorflow/benchmarks #63)
LEVERS = {
    "launches": "fewer kernels (XLA, one fused Adam)", "batch norms": "--normalization=local",
    "gradients": "a faster network, --wire_dtype=bfloat16",
    "history": "gather the fakes, not sum zeros; --image_buffer_size=0",
    "stragglers": "steadier nodes", "arithmetic": "a larger batch",
}  # fmt: skip


def main() -> None:
    given = _arguments()
    published = horovod_curves() + stylegan3_curves()
    _print_table("published", published)
    here = predict_here(given)
    _print_table("measured here", here)
    workloads = [workload(name, given) for name in given.presets.split(",")]
    shared = [work._replace(batch=given.strong_batch) if work.batch == 1 else work for work in workloads]
    limits = []
    for kind, works in (("weak", workloads), ("strong", shared)):
        for way in TRAINED:
            launch_seconds = 0.0 if "compiled" in way else given.launch_seconds
            device = Device(given.sustained_tflops * 1e12, launch_seconds, given.variation)
            of_way = works if way == "sync" else [work._replace(norms=0) for work in works]
            limits += [{"way": way} | limit_of(work, fabric, device, kind) for fabric in FABRICS for work in of_way]
            if way == "sync":
                print(draw(kind, of_way, device))
    _print_table("presets (a projection)", limits)
    measured = {"published": published, "here": here, "workloads": [work._asdict() for work in workloads],
                "presets": limits}  # fmt: skip
    print(record.write("project", vars(given), measured))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="mnist,mnist_large,mlp,dcgan,dcgan64,faces,pix2pix,cyclegan")
    # ResNet-50 of TensorFlow, mixed precision and XLA, on an A100: 2,375 images/s (NVIDIA DeepLearningExamples,
    # TensorFlow/Classification/ConvNets/resnet50v1.5) of 3 * 2 * 4.1e9 operations each: 19 % of the datasheet's 312e12.
    parser.add_argument("--sustained_tflops", type=float, default=58.0, help="of a GPU, on convolutions")
    # NVIDIA's blog, "Getting Started with CUDA Graphs", 2019: 3.8 us a short kernel in a stream.
    parser.add_argument("--launch_seconds", type=float, default=3.8e-6, help="a kernel, on a GPU")
    parser.add_argument("--variation", type=float, default=JITTER, help="deviation of a GPU's step, as a part of it")
    parser.add_argument("--wire_bytes", type=int, default=4, help="a number of a gradient on the wire: 4 or 2")
    parser.add_argument("--strong_batch", type=int, default=64, help="of recipes whose own batch is 1")
    # Where no allreduce_*.json is: Horovod's cycle on CPUs, and 10 MB in 15 ms between two processes (README.md here).
    parser.add_argument("--latency_seconds", type=float, default=1e-3, help="of an all-reduce here, if not measured")
    parser.add_argument("--bytes_per_second", type=float, default=10.07e6 / 15e-3, help="here, if not measured")
    parser.add_argument("--step_variation", type=float, help="as --variation, here; if not given, that of the rounds")
    return parser.parse_args()


class Published(NamedTuple):
    """A network as the authors of Horovod trained it: batches of 64 a GPU, float32, gradients by Horovod and NCCL.

    parameters: of which `last_layers` are in the dense layers, whose gradients are there first.
    images_per_second: of one GPU; efficiencies: by number of GPUs.
    """

    name: str
    parameters: float
    last_layers: float
    images_per_second: float
    efficiencies: dict[int, float]


# One GPU and 16 (RDMA, NCCL): the table in horovod/horovod pull request #44. 128: docs/benchmarks.md of October 2017.
# 512: docs/benchmarks.rst and the README. Parameters: tf_cnn_benchmarks' Inception V3 has no auxiliary head (Szegedy et
# al. 2016: 23.8 million, 2.0 dense); He et al. 2016 (44.5, 2.0); Simonyan & Zisserman 2015 (138.4, 123.6).
PUBLISHED = (
    Published("Inception V3", 23.8e6, 2.0e6, 134.4, {16: 2022.6 / 134.4 / 16, 128: 0.90, 512: 0.90}),
    Published("ResNet-101", 44.5e6, 2.0e6, 119.4, {16: 1746.2 / 119.4 / 16, 128: 0.90, 512: 0.90}),
    Published("VGG-16", 138.4e6, 123.6e6, 130.9, {16: 1787.4 / 130.9 / 16, 128: 0.79, 512: 0.68}),
)
# 4 P100 a server. NCCL had rings only until 2.4; Horovod slept 5 ms a cycle (operations.cc of 0.11).
HOROVOD_2018 = Fabric("PCIe + 25 GbE, 2018", 4, PCIE, ROCE_25, STARTS, 5e-3, ("ring",))
FUSION_BYTES = 64 * 2**20  # docs/tensor-fusion.md


def horovod_curves() -> list[dict[str, Any]]:
    """Weak scaling of Horovod, published and predicted.

    Gradients are ready evenly over the backward pass, those of the dense layers at its begin. `from 16` is the
    prediction times what was published over what was predicted for 16 GPUs: a prediction of how the curve goes on.
    """
    rows = []
    for network in PUBLISHED:
        anchor = network.efficiencies[16] / horovod_efficiency(network, 16)
        for count, efficiency in network.efficiencies.items():
            predicted = horovod_efficiency(network, count)
            rows.append({
                "curve": f"Horovod, {network.name}, {count} P100", "published": efficiency, "predicted": predicted,
                "error": predicted / efficiency - 1, "from 16": anchor * predicted,
                "error from 16": anchor * predicted / efficiency - 1,
            })  # fmt: skip
    return rows


def horovod_efficiency(network: Published, count: int) -> float:
    """What the model says of a published network."""
    compute = 64 / network.images_per_second
    backward, pieces = BACKWARD_SHARE * compute, 100
    rest = (network.parameters - network.last_layers) * 4 / pieces
    ready = [(network.last_layers * 4, 0.0), *((rest, backward * (n + 1) / pieces) for n in range(pieces))]
    end = overlapped(ready, lambda size: HOROVOD_2018.awaited(size, count), FUSION_BYTES)
    step = compute - backward + max(end, backward) + waiting(compute, JITTER, count)
    return compute / step


# NVlabs/stylegan3, docs/configs.md: StyleGAN3-T on A100s, batch 32: the images that a GPU alone takes at a time
# (--batch-gpu), and seconds a thousand images by number of GPUs, which it calls right to 20 %.
STYLEGAN3 = {
    128: (16, {1: 27.20, 2: 13.74, 4: 7.52, 8: 4.40}),
    256: (16, {1: 49.81, 2: 25.05, 4: 13.26, 8: 7.32}),
    512: (8, {1: 90.25, 2: 45.42, 4: 22.81, 8: 12.29}),
    1024: (4, {1: 156.91, 2: 79.16, 4: 39.62, 8: 20.01}),
}
# G of StyleGAN3-T has 22.3 million parameters (Karras et al. 2021), D, that of StyleGAN2, 29 million (2020).
STYLEGAN3_BYTES = 4 * (22.3e6 + 29e6)
DGX_A100 = Fabric("DGX A100", 8, NVLINK_A100, NDR_8, STARTS)


def stylegan3_curves() -> list[dict[str, Any]]:
    """Strong scaling of StyleGAN3-T at three resolutions, predicted from one GPU there and from the curve at 128x128.

    A pass costs a fixed time, for its launches, and a time an image. The fixed one is that of 128x128 (a line through
    its four points): larger images have about as many kernels. One GPU then gives the time an image.
    """
    fixed = stylegan3_fixed_seconds()
    rows = []
    for size in (256, 512, 1024):
        most, published = STYLEGAN3[size]
        each = published[1] / 1000 - fixed / most
        for count in (2, 4, 8):
            local = 32 // count
            step = -(-local // most) * fixed + local * each + DGX_A100.all_reduce(STYLEGAN3_BYTES, count)
            predicted, speed_up = 32 * published[1] / 1000 / step, published[1] / published[count]
            rows.append({
                "curve": f"StyleGAN3-T {size}x{size}, {count} A100", "published": speed_up, "predicted": predicted,
                "error": predicted / speed_up - 1,
            })  # fmt: skip
    return rows


def stylegan3_fixed_seconds() -> float:
    """Seconds a pass at 128x128 that do not depend on the number of images."""
    most, published = STYLEGAN3[128]
    points = [
        (min(32 // count, most), (32 * seconds / 1000 - DGX_A100.all_reduce(STYLEGAN3_BYTES, count)) / rounds)
        for count, seconds in published.items()
        for rounds in [-(-32 // count // most)]
    ]
    images, seconds_of_pass = zip(*points, strict=True)
    return float(np.polyfit(images, seconds_of_pass, 1)[1])


def predict_here(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Images a second of the `mnist` recipe by Horovod on this machine, from one process; empty without results.

    A process on a core of its own computes as fast as one alone, unless processes were measured side by side that do
    not talk (rows of backend "apart", of all their images a second); more processes than cores take turns. A fixed cost
    of a step is known where one process was measured with two batch sizes or more.
    """
    scaling = record.newest("scaling")
    if scaling is None:
        print("No results/scaling_*.json: run benchmarks/scaling.py first.", file=sys.stderr)
        return []
    rows = [row for row in scaling["measured"] if not row.get("flags")]
    cores = int(scaling["hardware"].split()[-2])
    single = [row for row in rows if row["backend"] == "single"]
    apart = {row["replicas"]: row["median_images_per_second"] for row in rows if row["backend"] == "apart"}
    batches, rates = zip(*((row["batch"], row["median_images_per_second"]) for row in single), strict=True)
    step_seconds = np.divide(batches, rates)
    each, fixed = np.polyfit(batches, step_seconds, 1) if len(single) > 1 else (step_seconds[0] / batches[0], 0.0)
    rounds = single[0]["images_per_second"]
    spread = statistics.stdev(rounds) / statistics.mean(rounds) if len(rounds) > 1 else 0.0
    variation = spread if given.step_variation is None else given.step_variation
    settings = argparse.Namespace(wire_bytes=4)
    work = workload("mnist", settings)._replace(flops_per_image=0.0, kernels=1)  # one "launch" is all that is computed
    if scaling["config"]["normalization"] == "local":
        work = work._replace(norms=0)
    found = []
    for kind, count in itertools.product(("weak", "strong"), (2, 4)):
        batch = scaling["config"]["batch_size"] * (count if kind == "weak" else 1)
        busy = count * rates[0] / apart[count] if count in apart else max(1.0, count / cores)
        fabric, source = fabric_here(given, count)
        device = Device(1.0, busy * (fixed + each * -(-batch // count)), variation)
        parts = step_parts(work, count, batch, fabric, device)
        predicted = batch / sum(parts.values())
        measured = [row["median_images_per_second"] for row in rows
                    if (row["scaling"], row["backend"], row["replicas"]) == (kind, "horovod", count)]  # fmt: skip
        found.append({
            "layout": f"{kind}, {count} processes", "predicted images/s": predicted,
            "measured images/s": measured[0] if measured else "not measured",
            "error": predicted / measured[0] - 1 if measured else "-", "all-reduce": source, "parts": parts,
        })  # fmt: skip
    return found


def fabric_here(given: argparse.Namespace, count: int) -> tuple[Fabric, str]:
    """This machine as a ring of `count` processes, and where its constants are from.

    Latency and bandwidth are those between the smallest and the largest all-reduce measured of that many processes,
    else of two. Half of the latency is the agreement that the all-reduce begins with.
    """
    result = record.newest("allreduce")
    rows = [row for row in result["measured"] if (row["library"], row["wire_dtype"]) == ("horovod", "float32")
            and not any(row.get(what) is not None for what in ("cycle_ms", "fusion_mib")) and not row.get("flags")
            ] if result else []  # fmt: skip
    processes = count if any(row["processes"] == count for row in rows) else 2
    seconds = {row["bytes"]: statistics.median(row["seconds"]) for row in rows if row["processes"] == processes}
    latency, bytes_per_second, source = given.latency_seconds, given.bytes_per_second, "not measured: flags"
    if len(seconds) > 1:
        least, most = min(seconds), max(seconds)
        latency, source = seconds[least], f"measured, {processes} processes"
        bytes_per_second = (most - least) / (seconds[most] - latency)
    hops = 2 * (processes - 1)
    link = plain_link(bytes_per_second * hops / processes, latency / 2 / hops)
    return Fabric("here", count, link, link, algorithms=("ring",)), source


def workload(preset: str, given: argparse.Namespace) -> Workload:
    """A step of a preset, counted on its networks at full size.

    Passes are counted in forward ones; the gradient of the inputs and that of the weights cost one more each. Each
    layer is taken for a kernel a pass; Keras' Adam for ten a variable. The batch norms of passes that do not wait for
    one another (real and fake) go in one cycle.
    """
    from distgan.config import Config
    from distgan.config.presets import PRESETS
    from distgan.gans.base import make_gan

    config = Config(preset=preset, data=PRESETS[preset].get("data", "mnist") or "folder:any")
    shape = (*config.height_and_width, 3) if config.height_and_width else (28, 28, 1)
    gan = make_gan(config, shape, list, ())
    passes, chain = _passes(config.architecture, gan.phases)
    flops, kernels, norms, norm_numbers = 0.0, 0, 0, []
    for name, network in gan.networks.items():
        player = name.partition("_")[0]
        flops += passes[player] * sum(map(_flops, network.layers))
        kernels += passes[player] * len(network.layers)
        found = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
        norms += chain[player] * len(found)
        norm_numbers += [2 * layer.gamma.shape[0] + 1 for layer in found]
    kernels += 10 * sum(len(gan.trainable(player)) for phase in gan.phases for player in phase)
    sizes = {player: sum(math.prod(v.shape) for v in gan.trainable(player)) for player in gan.players}
    return Workload(
        preset, config.batch_size, flops, kernels,
        tuple(given.wire_bytes * sum(sizes[player] for player in phase) for phase in gan.phases),
        norms, 4 * statistics.mean(norm_numbers or [0]),
        2 * 4 * math.prod(shape) if getattr(config.gan, "image_buffer_size", 0) else 0,
    )  # fmt: skip


def _passes(architecture: str, phases: tuple[tuple[str, ...], ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Passes through the networks of each player in a step, and how many of them wait for one another's batch norms."""
    if architecture == "cyclegan":  # there, back and identity; real, shown, and fake only for the generator
        return {"generator": 9, "discriminator": 8}, {"generator": 6, "discriminator": 2}
    if len(phases) == 1:  # real, fake, and fake once more backwards for the generator
        return {"generator": 3, "discriminator": 7}, {"generator": 2, "discriminator": 2}
    d, g = phases.count(("discriminator",)), phases.count(("generator",))
    return {"generator": d + 3 * g, "discriminator": 6 * d + 2 * g}, {
        "generator": d + 2 * g,
        "discriminator": 2 * (d + g),
    }


def _flops(layer: Any) -> float:
    """Operations of a forward pass of one image: two a weight and position."""
    kernels = [math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1]
    if not kernels:
        return 0.0
    return 2 * sum(kernels) * min(math.prod(end.shape[1:-1]) for end in (layer.input, layer.output))


def seconds_by_count(work: Workload, fabric: Fabric, device: Device, kind: str, without: str = "") -> dict[int, float]:
    """Seconds a step by number of GPUs, each with the recipe's batch (weak) or all with it (strong); less a part."""
    return {
        count: sum(parts.values()) - parts.get(without, 0.0)
        for count in COUNTS
        if kind == "weak" or work.batch >= count
        for parts in [step_parts(work, count, work.batch * (count if kind == "weak" else 1), fabric, device)]
    }


def last_count(seconds: dict[int, float], kind: str) -> int:
    """The most GPUs before weak scaling falls below 90 %, or those with the shortest step of strong scaling."""
    if kind == "strong":
        return min(seconds, key=lambda count: seconds[count])
    return max(itertools.takewhile(lambda count: seconds[1] / seconds[count] >= LEAST_EFFICIENCY, seconds))


def limit_of(work: Workload, fabric: Fabric, device: Device, kind: str) -> dict[str, Any]:
    """Where a preset stops scaling, what it waits for just beyond that, and how far it would go without."""
    seconds = seconds_by_count(work, fabric, device, kind)
    last = last_count(seconds, kind)
    beyond = min(2 * last, max(seconds))
    parts = step_parts(work, beyond, work.batch * (beyond if kind == "weak" else 1), fabric, device)
    candidates = set(parts) - {"arithmetic"} - ({"launches"} if kind == "weak" else set())
    cause = max(sorted(candidates), key=lambda part: parts[part])
    moved = last_count(seconds_by_count(work, fabric, device, kind, without=cause), kind)
    return {
        "scaling": kind, "fabric": fabric.name, "preset": work.name, "batch": work.batch,
        "one GPU, ms": seconds[1] * 1000, "scales to": last, "of": max(seconds),
        "gain there": seconds[1] / seconds[last], "gain with all": seconds[1] / seconds[max(seconds)],
        "waits for": cause, "share": parts[cause] / sum(parts.values()), "without it": moved,
        "what would move it": LEVERS[cause],
    }  # fmt: skip


def draw(kind: str, workloads: list[Workload], device: Device) -> Path:
    """A picture of weak or strong scaling, a panel a fabric."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(FABRICS), figsize=(12, 4.6), sharey=True, layout="constrained")
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(workloads)))
    for panel, fabric in zip(panels, FABRICS, strict=True):
        for work, colour, marker in zip(workloads, colours, "osD^vPX*" * len(workloads), strict=False):
            seconds = seconds_by_count(work, fabric, device, kind)
            counts, gains = list(seconds), [seconds[1] / seconds[count] for count in seconds]
            panel.plot(counts, gains, color=colour, marker=marker, markersize=4, linewidth=1.6, label=work.name)
        ticks = COUNTS[::2] if kind == "weak" else COUNTS[:11:2]
        panel.axvspan(0.8, fabric.per_node * math.sqrt(2), color="0.94", zorder=0)
        panel.text(0.95, 0.02, "one node", transform=panel.get_xaxis_transform(), fontsize=8, color="0.45")
        panel.set_xscale("log", base=2)
        panel.set_xlim(0.8, ticks[-1] * 1.25)
        panel.set_xticks(ticks, [f"{count:,}" for count in ticks])
        panel.set_title(fabric.name, fontsize=11)
        panel.set_xlabel("GPUs")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if kind == "weak":
            panel.axhline(LEAST_EFFICIENCY, color="0.4", linestyle=":", linewidth=1)
            panel.set_ylim(0, 1.05)
            panel.yaxis.set_major_formatter("{x:.0%}")
        else:
            panel.set_yscale("log", base=2)
            panel.plot([1, 64], [1, 64], color="0.4", linestyle=":", linewidth=1)
            gains = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64]
            panel.set_yticks(gains, [f"{gain:g}x" for gain in gains])
    panels[0].set_ylabel("efficiency" if kind == "weak" else "times as fast as one GPU")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
    figure.suptitle({
        "weak": "Weak scaling, projected: the recipe's batch on each GPU",
        "strong": "Strong scaling, projected: the recipe's batch shared by all, to one image a GPU",
    }[kind])  # fmt: skip
    path = record.picture(f"scaling_{kind}")
    figure.savefig(path, dpi=150)
    return path


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "parts"))
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(_shown(name, row.get(name, '-')) for name in columns)} |")
    print()


def _shown(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:+.0%}" if name.startswith("error") else f"{value:.0%}" if name == "share" else f"{value:.3g}"


if __name__ == "__main__":
    main()

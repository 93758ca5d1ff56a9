"""The tutorial's networks in PyTorch on a GPU: eager, compiled, and as CUDA graphs; started by gpu_check.py.

The step is that of pytorch_ddp.py without its processes. The pixels lie on the GPU and are gathered there. In CUDA
graphs the whole step is captured once and replayed. Prints a line of JSON for each way, precision and batch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from pytorch_ddp import NOISE_SIZE, Generator, make_discriminator
from torch import nn

WARM_UP, BLOCK, BLOCKS = 20, 50, 5
WAYS = [
    ("eager", "float32", 256), ("eager", "mixed_bfloat16", 256), ("graph", "float32", 256),
    ("graph", "mixed_bfloat16", 256), ("graph", "mixed_bfloat16", 2048),
    ("compiled graph", "mixed_bfloat16", 256), ("compiled graph", "mixed_bfloat16", 2048),
    ("compiled graph", "float32", 256),
]  # fmt: skip


def make_step(pixels: torch.Tensor, way: str, precision: str, batch_size: int) -> Callable[[], None]:
    """A function that makes one training step of both networks on images that it draws."""
    torch.manual_seed(0)
    generator, discriminator = Generator().cuda(), make_discriminator().cuda()
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)
        for weight in network.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
    settings = {"lr": 1e-4, "eps": 1e-7, "fused": True, "capturable": True}
    optimizers = [torch.optim.Adam(network.parameters(), **settings) for network in (generator, discriminator)]
    cross_entropy = nn.BCEWithLogitsLoss()
    real, fake = torch.ones(batch_size, 1, device="cuda"), torch.zeros(batch_size, 1, device="cuda")
    make, judge = generator, discriminator
    if way.startswith("compiled"):
        make, judge = torch.compile(generator), torch.compile(discriminator)

    def step() -> None:
        rows = torch.randint(len(pixels), (batch_size,), device="cuda")
        images = pixels[rows].float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "mixed_bfloat16", cache_enabled=False):
            fakes = make(torch.randn(batch_size, NOISE_SIZE, device="cuda"))
            real_logits, fake_logits = judge(images), judge(fakes.detach())
        optimizers[1].zero_grad(set_to_none=True)
        (cross_entropy(real_logits.float(), real) + cross_entropy(fake_logits.float(), fake)).backward()
        optimizers[1].step()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "mixed_bfloat16", cache_enabled=False):
            logits = judge(fakes)
        optimizers[0].zero_grad(set_to_none=True)
        loss = cross_entropy(logits.float(), real)
        loss.backward(inputs=list(generator.parameters()))
        optimizers[0].step()

    if "graph" not in way:
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", required=True, help="a .npy file of uint8 [num_examples, 28, 28, 1]")
    given = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as TensorFlow does
    torch.backends.cudnn.benchmark = True
    pixels = torch.from_numpy(np.load(given.pixels)).permute(0, 3, 1, 2).cuda()
    for way, precision, batch_size in WAYS:
        case = {"what": f"PyTorch {torch.__version__}, {way}, {precision}, batch {batch_size}"}
        try:
            step = make_step(pixels, way, precision, batch_size)
            for _ in range(WARM_UP):
                step()
            seconds = []
            for _ in range(BLOCKS):
                torch.cuda.synchronize()
                started = time.perf_counter()
                for _ in range(BLOCK):
                    step()
                torch.cuda.synchronize()
                seconds.append((time.perf_counter() - started) / BLOCK)
            rate = batch_size / statistics.median(seconds)
            measured = {"milliseconds": 1000 * statistics.median(seconds), "seconds": seconds}
            print(json.dumps(case | measured | {"images_per_second": rate}), flush=True)
        except RuntimeError as error:
            print(json.dumps(case | {"problem": str(error)[:500]}), flush=True)


if __name__ == "__main__":
    main()

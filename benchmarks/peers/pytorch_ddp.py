"""The tutorial's networks in PyTorch eager, channels_last, DistributedDataParallel over Gloo; started by torchrun.

The loop is that of PyTorch's DCGAN tutorial, both losses of the discriminator in one backward pass and one all-reduce:
the discriminator moves first, then the generator against it. It shows the fakes to the discriminator twice, which is a
twentieth of the step's arithmetic more than one forward pass for both. Batch norm is over a process's share of the
batch, as PyTorch's SyncBatchNorm has no CPU version: less work than over the global batch.
"""

import time
from collections.abc import Iterator

import numpy as np
import protocol
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

NOISE_SIZE = 100
NEGATIVE_SLOPE = 0.3


class Generator(nn.Module):
    """Noise `[batch, 100]` to images `[batch, 1, 28, 28]` in [-1, 1]."""

    def __init__(self) -> None:
        """Keras's momentum and epsilon of batch norm; the paddings give TensorFlow's sizes of "same"."""
        super().__init__()
        norm = {"momentum": 0.01, "eps": 1e-3}
        self.project = nn.Sequential(
            nn.Linear(NOISE_SIZE, 7 * 7 * 256, bias=False),
            nn.BatchNorm1d(7 * 7 * 256, **norm),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )
        self.grow = nn.Sequential(
            nn.ConvTranspose2d(256, 128, 5, stride=1, padding=2, bias=False),
            nn.BatchNorm2d(128, **norm),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.ConvTranspose2d(128, 64, 5, stride=2, padding=2, output_padding=1, bias=False),
            nn.BatchNorm2d(64, **norm),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.ConvTranspose2d(64, 1, 5, stride=2, padding=2, output_padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """The images; the view is channels_last without a copy."""
        return self.grow(self.project(noise).view(-1, 7, 7, 256).permute(0, 3, 1, 2))


def make_discriminator() -> nn.Module:
    """Images `[batch, 1, 28, 28]` to logits `[batch, 1]` of being real."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, stride=2, padding=2),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        nn.Dropout(0.3),
        nn.Conv2d(64, 128, 5, stride=2, padding=2),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, 1),
    )


def distributed_over_processes(network: nn.Module) -> DistributedDataParallel:
    """Initialised as Keras does, channels_last, its gradients averaged over the processes."""
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.xavier_uniform_(weight)
    return DistributedDataParallel(network.to(memory_format=torch.channels_last), gradient_as_bucket_view=True)


def batches(path: str, batch_size: int) -> Iterator[torch.Tensor]:
    """This process's share of each batch, `[share, 1, 28, 28]` in [-1, 1], in a new order each epoch, without end."""
    pixels = torch.from_numpy(np.load(path)).permute(0, 3, 1, 2)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    order = torch.Generator().manual_seed(0)  # the same in all processes
    while True:
        examples = torch.randperm(len(pixels), generator=order)
        for batch in examples.split(batch_size)[: len(pixels) // batch_size]:
            images = pixels[batch[rank::size]].float().div_(127.5).sub_(1)
            yield images.contiguous(memory_format=torch.channels_last)


def main() -> None:
    given = protocol.asked(__doc__)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    share = given.batch_size // distributed.get_world_size()
    torch.manual_seed(distributed.get_rank())
    generator = distributed_over_processes(Generator())
    discriminator = distributed_over_processes(make_discriminator())
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, eps=1e-7, fused=True)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-4, eps=1e-7, fused=True)
    cross_entropy = nn.BCEWithLogitsLoss()
    real, fake = torch.ones(share, 1), torch.zeros(share, 1)

    def precision() -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=given.precision == "mixed_bfloat16")

    def train_step(images: torch.Tensor) -> None:
        with precision():
            fakes = generator(torch.randn(share, NOISE_SIZE))
            real_logits, fake_logits = discriminator(images), discriminator(fakes.detach())
        discriminator_optimizer.zero_grad(set_to_none=True)
        (cross_entropy(real_logits.float(), real) + cross_entropy(fake_logits.float(), fake)).backward()
        discriminator_optimizer.step()
        # Of the discriminator the generator needs the gradient by the images only, and nothing to be all-reduced.
        discriminator.requires_grad_(False)
        with precision():
            logits = discriminator.module(fakes)
        generator_optimizer.zero_grad(set_to_none=True)
        cross_entropy(logits.float(), real).backward()
        generator_optimizer.step()
        discriminator.requires_grad_(True)

    data = batches(given.pixels, given.batch_size)
    finished = []
    for _ in range(given.warm_up_steps + given.steps):
        train_step(next(data))
        finished.append(time.perf_counter())
    if distributed.get_rank() == 0:
        networks = {"generator": generator, "discriminator": discriminator}
        parameters = {
            name: sum(weight.numel() for weight in network.parameters()) for name, network in networks.items()
        }
        protocol.answer(given, finished, parameters)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()

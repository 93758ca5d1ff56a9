"""CycleGAN: unpaired image-to-image translation (Zhu et al. 2017)."""

from typing import Any

import keras
import tensorflow as tf

from distgan.config import Config
from distgan.data.base import Shape
from distgan.data.order import Draws
from distgan.data.pipeline import Batch
from distgan.gans import losses
from distgan.gans.base import GAN, Losses
from distgan.gans.translation_options import DIRECTIONS, CycleGANOptions
from distgan.nets.normalization import INSTANCE_NORM, SumInStep
from distgan.nets.translation import patch_discriminator, refuse_size, resnet

LARGE_IMAGE_PIXELS = 256
THRESHOLD = 0.5  # halfway between the least-squares labels of generated (0) and real (1) images


class CycleGAN(GAN):
    """Two generators, from A to B and from B to A, each with a discriminator of its target domain.

    All are updated together, from the weights before the update. Discriminators see generated images from a buffer.
    """

    players = {  # noqa: RUF012 - never mutated
        "generator": ("generator_AtoB", "generator_BtoA"),
        "discriminator": ("discriminator_A", "discriminator_B"),
    }
    shows_data = True
    directions = DIRECTIONS

    def __init__(self, config: Config, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create the networks and the image buffers. Raises `UserError` if the image shape does not suit them."""
        super().__init__(config, image_shape, sum_in_step)
        refuse_size(image_shape, 4)
        options: CycleGANOptions = config.gan
        blocks = options.residual_blocks or (9 if min(image_shape[:2]) >= LARGE_IMAGE_PIXELS else 6)
        shared: dict[str, Any] = {"image_shape": image_shape, "filters": options.filters, "seed": config.seed}
        judges = shared | {"inputs": 1, "batch_norm": INSTANCE_NORM, "spectral_norm": options.spectral_norm}

        def generators() -> dict[str, keras.Model]:
            own = shared | {"residual_blocks": blocks, "recompute": options.recompute}
            return {name: resnet(name, **own) for name in self.players["generator"]}

        self.networks = generators()
        self.networks |= {name: patch_discriminator(name, **judges) for name in self.players["discriminator"]}
        if config.ema_half_life_images:
            self.averages = generators()
        self._buffers = {}
        for domain in options.streams if options.image_buffer_size else ():
            buffer = self._buffers[domain] = ImageBuffer(domain, options.image_buffer_size, image_shape, sum_in_step)
            # Named as in the checkpoints of older versions.
            self.memory |= {f"history_{domain}/images": buffer.images, f"history_{domain}/filled": buffer.filled}
        self._cycle_weight, self._identity_weight = options.cycle_weight, options.identity_weight

    def losses(self, batch: Batch, phase: tuple[str, ...]) -> Losses:
        """Return least-squares, cycle and identity losses (eq. 1 to 3, sec. 5.2), summed over both directions."""
        there, back = self._one_way(batch, "A", "B"), self._one_way(batch, "B", "A")
        logged = {name: there[name] + back[name] for name in there}
        identity = self._cycle_weight * self._identity_weight * logged["loss/identity"]
        sums = {
            "generator": logged["loss/game"] + self._cycle_weight * logged["loss/cycle"] + identity,
            "discriminator": logged.pop("halved"),
        }
        means = {name: value / 2 for name, value in logged.items() if name.startswith("accuracy/")}
        return sums, logged | means | {f"loss/{player}": value for player, value in sums.items()}

    def _one_way(self, batch: Batch, source: str, target: str) -> dict[str, tf.Tensor]:
        """Return sums over this replica's examples, for the way from one domain to the other and back."""
        there, back = self.networks[f"generator_{source}to{target}"], self.networks[f"generator_{target}to{source}"]
        discriminator = self.networks[f"discriminator_{target}"]
        images, reals = batch.images[source], batch.images[target]
        fakes = there(images, training=True)
        real_logits = discriminator(reals, training=True)
        shown = tf.stop_gradient(fakes)
        if target in self._buffers:
            shown = self._buffers[target].exchange(shown, batch)
        shown_logits = discriminator(shown, training=True)
        terms = {
            "loss/game": losses.least_squares_generator_loss(discriminator(fakes, training=True)),
            "loss/cycle": losses.l1(back(fakes, training=True), images),
            "loss/identity": losses.l1(there(reals, training=True), reals)
            if self._identity_weight
            else fakes[:, 0, 0, 0] * 0,
            # Halved, so that it learns more slowly than the generator (appendix 7.1).
            "halved": losses.least_squares_discriminator_loss(real_logits, shown_logits) / 2,
        }
        sums = {name: tf.reduce_sum(values) for name, values in terms.items()}
        return sums | losses.accuracies(real_logits, shown_logits, THRESHOLD)

    def translate(self, images: tf.Tensor, direction: str, draws: Draws) -> tf.Tensor:
        """Translate images with the generator of a direction."""
        return self.shown(f"generator_{direction}")(images, training=False)

    def preview(self, count: int, seed: int, held_out: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return rows of held-out image, translation and translation back: one half from A, the other from B."""
        rows, halves = [], (("A", *DIRECTIONS, -(-count // 2)), ("B", *DIRECTIONS[::-1], count // 2))
        for source, direction, back, number in halves[:count]:
            images = held_out[source][:number]
            draws = Draws(f"{seed}/preview", 0, 0, images.shape[0])
            fakes = self.translate(images, direction, draws)
            returned = self.translate(fakes, back, draws)
            rows.append(tf.concat([images, tf.cast(fakes, tf.float32), tf.cast(returned, tf.float32)], 2))
        return tf.concat(rows, 0)


class ImageBuffer:
    """Generated images of one domain, of which a discriminator sees earlier ones too (Shrivastava et al. 2017).

    They are a part of the run's state, the same on all replicas.

    Attributes:
        images: `[size, height, width, channels]`; filled: the number of images stored so far.
    """

    def __init__(self, name: str, size: int, image_shape: Shape, sum_in_step: SumInStep) -> None:
        """Create an empty buffer, in the scope of the replicas; `sum_in_step` gathers the images of all replicas."""
        dtype = tf.as_dtype(keras.config.dtype_policy().variable_dtype)
        self.images = tf.Variable(tf.zeros([size, *image_shape], dtype), trainable=False)
        self.filled = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._name, self._size, self._sum_in_step = name, size, sum_in_step

    def exchange(self, fakes: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Store this replica's generated images; return as many to show, `[count, height, width, channels]`.

        Images come one after the other. Until the buffer is full, each is stored and shown. Then, with probability 1/2,
        an image replaces a random stored one, and the stored one is shown instead.
        """
        draws = batch.together(self._name)
        swaps = draws.of("swaps").uniform(())
        slots = tf.cast(draws.of("slots").uniform(()) * self._size, tf.int64) % self._size
        kept, shown, filled = exchanges(self.filled, swaps < 0.5, slots, self._size)
        before, count = tf.cast(batch.draws.first, tf.int32), tf.cast(batch.draws.count, tf.int32)
        edges = [[before, batch.size - before - count], [0, 0], [0, 0], [0, 0]]
        rows = tf.ensure_shape(tf.pad(tf.cast(fakes, self.images.dtype), edges), [batch.size, *fakes.shape[1:]])
        of_all = tf.concat([self.images, self._sum_in_step([rows])[0]], 0)  # of all replicas: sums of rows and zeros
        self.images.assign(tf.gather(of_all, kept))
        self.filled.assign(filled)
        return tf.cast(tf.gather(of_all, shown[before : before + count]), fakes.dtype)


def exchanges(
    filled: tf.Tensor, swaps: tf.Tensor, slots: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the images stored and shown after a batch, as indices into the `size` stored ones, then the batch.

    `swaps`, bool `[batch]`, and `slots`, int64 `[batch]`: whether each image of the batch replaces a stored one, and
    which. Returns the stored indices, int64 `[size]`, the shown ones, int64 `[batch]`, and the number of stored images.
    """

    def step(number: tf.Tensor, kept: tf.Tensor, shown: tf.Tensor, filled: tf.Tensor) -> tuple[tf.Tensor, ...]:
        is_filling = filled < size
        slot = tf.where(is_filling, filled, slots[number])
        new = tf.cast(number, tf.int64) + size
        is_kept = is_filling | swaps[number]
        old = tf.where(is_kept & ~is_filling, kept[slot], new)
        kept = tf.where(is_kept & (tf.range(size, dtype=tf.int64) == slot), new, kept)
        shown = tf.tensor_scatter_nd_update(shown, [[number]], [old])
        return number + 1, kept, shown, filled + tf.cast(is_filling, tf.int64)

    batch_size = swaps.shape[0]
    start = (tf.constant(0), tf.range(size, dtype=tf.int64), tf.zeros([batch_size], tf.int64), tf.identity(filled))
    _, kept, shown, filled = tf.while_loop(lambda number, *_: number < batch_size, step, start)
    return kept, shown, filled

"""The `dcgan` preset as a class: a shorthand for its settings and `train`."""

from typing import TYPE_CHECKING, Any

from distgan.config import Config

if TYPE_CHECKING:
    from distgan.run import Run


class DCGAN:
    """A DCGAN that learns from a folder of images.

        run = distgan.DCGAN(save_path="runs/flowers", img_size=(64, 64, 3)).train("photos/flowers", epochs=100)

    Attributes:
        settings: the fields of `Config` that the parameters stand for.
    """

    def __init__(
        self,
        *,
        save_path: str = "runs/dcgan",
        input_size: int = 200,
        img_size: tuple[int, int, int] = (150, 150, 3),
        increment: int = 32,
        **settings: Any,
    ) -> None:
        """Describe a run: its directory, the latent dimension, the images' shape and the channels a stage adds.

        settings: further fields of `Config`, such as `depth`, `dropout`, `batch_size` or `generator_learning_rate`.
        """
        height, width, channels = img_size
        self.settings = settings | {
            "preset": "dcgan", "run_dir": save_path, "latent_dim": input_size, "image_size": f"{height}x{width}",
            "channels": channels, "filters": increment,
        }  # fmt: skip

    def train(self, folder: str, **length: Any) -> "Run":
        """Train on the images in a folder, for `epochs` or `steps`, and return the run. Raises `UserError`."""
        from distgan.run import train

        return train(Config(**self.settings | length, data=f"folder:{folder}"))

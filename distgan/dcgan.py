"""The `dcgan` preset as a class."""

from typing import TYPE_CHECKING, Any

from distgan.config import Config

if TYPE_CHECKING:
    from distgan.run import Run


class DCGAN:
    """A DCGAN for a folder of images: `DCGAN(img_size=(64, 64, 3)).train("photos", epochs=100)` returns a `Run`."""

    def __init__(
        self,
        *,
        save_path: str = "runs/dcgan",
        input_size: int = 200,
        img_size: tuple[int, int, int] = (150, 150, 3),
        increment: int = 32,
        **settings: Any,
    ) -> None:
        """Set run directory, latent dimension, image shape, channels that a stage adds, and `settings` of `Config`."""
        self.settings = settings | {
            "preset": "dcgan",
            "run_dir": save_path,
            "latent_dim": input_size,
            "filters": increment,
            "image_size": f"{img_size[0]}x{img_size[1]}",
            "channels": img_size[2],
        }

    def train(self, folder: str, **length: Any) -> "Run":
        """Train on the images in a folder, for `epochs` or `steps`. Raises `UserError`."""
        from distgan.run import train

        return train(Config(**self.settings | length, data=f"folder:{folder}"))

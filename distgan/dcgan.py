"""The `dcgan` recipe as a class: a DCGAN for a folder of images, with a parameter for everything."""

from typing import TYPE_CHECKING, Any

from distgan.config import Config
from distgan.errors import UserError

if TYPE_CHECKING:
    import keras

    from distgan.run import Run


class DCGAN:
    """A DCGAN that learns from a folder of images.

        gan = distgan.DCGAN(save_path="runs/flowers", img_size=(64, 64, 3))
        run = gan.train("photos/flowers", epochs=100)
        pixels = run.generate(25)

    Attributes:
        settings: the fields of `Config` that the parameters mean.
    """

    def __init__(
        self,
        *,
        save_path: str = "runs/dcgan",
        kernel_size: int = 3,
        stride: int = 2,
        input_size: int = 200,
        img_size: tuple[int, int, int] = (150, 150, 3),
        dropout: float = 0.4,
        depth: int = 3,
        increment: int = 32,
        batch_size: int | None = None,
        optimizer: "keras.optimizers.Optimizer | None" = None,
        **settings: Any,
    ) -> None:
        """Describe the networks and the run; nothing is made yet.

        save_path: the run directory; a run that is there is gone on with.
        kernel_size, stride, depth: of the convolutions, and how many there are.
        input_size: numbers in a latent vector.
        img_size: the (height, width, channels) that images are brought to.
        dropout: the rate, in both networks.
        increment: channels of the discriminator's first convolution, and what each further one has more.
        batch_size: images a step, over all replicas; 32 if not given.
        optimizer: the generator's, a `keras.optimizers.Adam`, `RMSprop` or `SGD`; Adam(2e-4, beta_1=0.5) if not given.
        settings: any other fields of `Config`, such as `seed` or `checkpoint_every_epochs`.

        Raises `UserError` for another optimizer, or a field that a parameter sets.
        """
        height, width, channels = img_size
        self.settings: dict[str, Any] = {
            "preset": "dcgan", "run_dir": str(save_path), "kernel_size": kernel_size, "stride": stride,
            "noise_size": input_size, "image_size": f"{height}x{width}", "channels": channels, "dropout": dropout,
            "depth": depth, "filters": increment,
        }  # fmt: skip
        self.settings |= {"batch_size": batch_size} if batch_size is not None else {}
        self.settings |= _of_optimizer(optimizer) if optimizer is not None else {}
        taken = sorted({*self.settings, "data"} & settings.keys())
        if taken:
            raise UserError(f"{taken[0]}={settings[taken[0]]} is refused: a parameter of DCGAN or of train sets it.")
        self.settings |= settings

    def train(self, folder: str, epochs: int | None = None) -> "Run":
        """Learn from the images in a folder, with or without class folders in it, for 500 or so many passes over them.

        Raises `UserError` where settings or images are unfit.
        """
        from distgan import run

        length = {"epochs": epochs} if epochs is not None else {}
        return run.train(Config(**self.settings | length, data=f"folder:{folder}"))


def _of_optimizer(optimizer: "keras.optimizers.Optimizer") -> dict[str, Any]:
    kind = type(optimizer).__name__.lower()
    refusal = UserError(
        f"optimizer={optimizer if isinstance(optimizer, str) else type(optimizer).__name__} is refused: give a Keras "
        "Adam (of a learning_rate and beta_1), SGD (of a learning_rate and momentum) or RMSprop (of a learning_rate), "
        "and what else you like by other settings."
    )
    if kind not in ("adam", "rmsprop", "sgd"):
        raise refusal
    found, usual = optimizer.get_config(), type(optimizer)().get_config()
    beta_1 = {"adam": "beta_1", "sgd": "momentum"}.get(kind, "")
    changed = [name for name in found if found[name] != usual[name] and name not in ("learning_rate", "name", beta_1)]
    if changed or not isinstance(found["learning_rate"], float):
        raise refusal
    rate = float(f"{found['learning_rate']:.6g}")  # Keras keeps it in float32
    settings = {"generator_optimizer": kind, "generator_learning_rate": rate}
    return settings | ({"generator_beta_1": found[beta_1]} if beta_1 else {})

"""The presets: for each, the settings that differ from the defaults."""

from typing import Any

_HALF = {"generator_beta_1": 0.5, "discriminator_beta_1": 0.5}
_ADAM = _HALF | {"generator_learning_rate": 2e-4, "discriminator_learning_rate": 2e-4}
_RADFORD = _HALF | {"data": None, "architecture": "dcgan64", "noise": "uniform", "alternating": True, "dropout": 0.0,
    "batch_size": 128,
}  # fmt: skip
_ISOLA = _ADAM | {
    "data": None, "batch_size": 1, "jitter_pixels": 30, "mirror": True, "image_size": "256x256", "epochs": 200,
    "learning_rate_schedule": "linear", "constant_epochs": 100.0, "decay_epochs": 100.0, "num_samples": 4,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    # The DCGAN of the TensorFlow tutorial: the defaults of `Config`.
    "mnist": {},
    "mnist_large": {"batch_size": 512, "checkpoint_every": "10epochs"},
    # Smaller and conditional, with the R1 penalty of Mescheder et al. 2018 and the EMA of Karras et al. 2018.
    "mnist_best": {
        "conditional": True, "latent_dim": 20, "filters": 32, "kernel_size": 4, "dropout": 0.0, "batch_size": 64,
        "r1_weight": 1.0, "ema_half_life_images": 20_000,
        "generator_learning_rate": 5e-4, "generator_beta_1": 0.0, "generator_beta_2": 0.9,
        "discriminator_learning_rate": 2e-3, "discriminator_beta_1": 0.0, "discriminator_beta_2": 0.9,
        "learning_rate_schedule": "cosine", "decay_epochs": 16.0, "epochs": 12, "checkpoint_every": "1epochs",
        "evaluate_every": "1epochs", "num_samples": 100,
    },
    "mlp": _ADAM | {
        "architecture": "mlp", "alternating": True, "batch_size": 32, "steps": 30_000,
        "checkpoint_every": "5000steps", "sample_every": "200steps", "num_samples": 25,
    },
    "dcgan": _ADAM | {
        "data": None, "architecture": "dcgan", "image_size": "150x150", "alternating": True,
        "noise": "uniform", "latent_dim": 200, "kernel_size": 3, "filters": 32, "depth": 3, "dropout": 0.4,
        "batch_size": 32, "discriminator_learning_rate": 5e-5, "epochs": 500, "sample_every": "50epochs",
        "num_samples": 25,
    },
    # Radford et al. 2015
    "dcgan64": _RADFORD | _ADAM | {"image_size": "64x64", "depth": 4},
    "faces": _RADFORD | {
        "image_size": "32x32", "depth": 3, "filters": 32, "generator_filters": 32, "kernel_size": 4,
        "real_label": 0.9, "generator_updates": 2,
    },
    # For colour pictures: mnist_best without classes, with a larger latent dimension (benchmarks/colour.py).
    "rgb_best": {
        "data": None, "image_size": "32x32", "latent_dim": 64, "filters": 32, "kernel_size": 4, "dropout": 0.0,
        "batch_size": 64, "r1_weight": 1.0, "ema_half_life_images": 20_000,
        "generator_learning_rate": 5e-4, "generator_beta_1": 0.0, "generator_beta_2": 0.9,
        "discriminator_learning_rate": 2e-3, "discriminator_beta_1": 0.0, "discriminator_beta_2": 0.9,
        "learning_rate_schedule": "cosine", "decay_epochs": 50.0, "checkpoint_every": "1epochs", "num_samples": 64,
    },
    # Huang et al. 2024, smaller.
    "r3gan": {
        "data": None, "architecture": "residual", "image_size": "32x32", "latent_dim": 64, "filters": 32, "blocks": 1,
        "loss": "relativistic", "r1_weight": 1.0, "r2_weight": 1.0, "batch_size": 64,
        "generator_learning_rate": 5e-4, "generator_beta_1": 0.0, "generator_beta_2": 0.99,
        "discriminator_learning_rate": 5e-4, "discriminator_beta_1": 0.0, "discriminator_beta_2": 0.99,
        "ema_half_life_images": 20_000, "learning_rate_schedule": "cosine", "decay_epochs": 50.0, "num_samples": 64,
    },
    # Isola et al. 2017
    "pix2pix": _ISOLA | {"architecture": "pix2pix", "dropout": 0.5},
    # Zhu et al. 2017
    "cyclegan": _ISOLA | {"architecture": "cyclegan"},
}  # fmt: skip

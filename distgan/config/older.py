"""The settings of older versions: their config files are converted, their flags are refused by the new name."""

from typing import Any

from distgan.config.fields import NEVER

_RENAMED = {
    "noise_size": "latent_dim",
    "average_half_life_images": "ema_half_life_images",
    "history_size": "image_buffer_size",
}
_REMOVED = (("batch_size_per_replica", None), ("accumulate_steps", 1))  # with the values that had no effect
_SPLIT = {  # a setting for each unit: the present one, and the unit in its values
    f"{name}_{unit}": (name, suffix)
    for name in ("checkpoint_every", "sample_every", "evaluate_every")
    for unit, suffix in (("epochs", "epochs"), ("steps", "steps"), ("seconds", "s"))
}


def converted(stored: dict[str, Any]) -> dict[str, Any]:
    """Return settings under their current names; None was the value of those that a GAN did not use."""
    settings = {_RENAMED.get(name, name): value for name, value in stored.items() if (name, value) not in _REMOVED}
    for older, (name, suffix) in _SPLIT.items():
        number = settings.pop(older, None)
        if number is not None:
            settings[name] = f"{number:g}{suffix}" if number else NEVER
    return settings


def flag_is_now(flag: str) -> str:
    """Return the sentence that names the present flag for an older one; empty if `flag` is none of those."""
    if flag in _SPLIT:
        name, suffix = _SPLIT[flag]
        return f"--{flag} is now --{name}, with a unit: --{name}=10{suffix}."
    return f"--{flag} is now --{_RENAMED[flag]}." if flag in _RENAMED else ""

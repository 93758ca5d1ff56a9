"""What a run is: its settings, their flags and their file on disk."""

from distgan.config.config import Config, changed_settings, load_config

__all__ = ["Config", "changed_settings", "load_config"]

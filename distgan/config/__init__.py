"""The settings of a run, their flags and their file on disk."""

from distgan.config.config import Config, changed_settings, load_config

__all__ = ["Config", "changed_settings", "load_config"]

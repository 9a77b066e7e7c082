"""The one configuration of a run: its settings by section, where steps run, reading and overrides."""

from selfemo.config.reading import load, validate
from selfemo.config.run import SECTIONS, Config

__all__ = ["SECTIONS", "Config", "load", "validate"]

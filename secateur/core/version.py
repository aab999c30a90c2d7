"""The version of secateur."""

__version__ = "0.1.0"

"""The Lambda: everything that it loads, and nothing else."""

VERSION = "1.0.0"
"""The version of the product, also in ``pyproject.toml``."""

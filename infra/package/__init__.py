"""Builds the Lambda's zip and its CloudFormation template: ``python -m infra.package``, or ``make package``.

:mod:`.build` has the steps in their order. Decision 8 says why Chalice's own packager is not used.
"""

from __future__ import annotations

from typing import Final

PYTHON: Final = "3.13"
"""Version of the Lambda's Python. The zip's wheels and bytecode and the template's ``Runtime`` follow it."""

BYTECODE_TAG: Final = "cpython-313"
"""Name of this Python's implementation in the names of bytecode and extension modules."""


class PackageError(Exception):
    """The zip or the template cannot be built, or must not be deployed."""

"""Copies of values with some fields changed: ``msgspec.structs.replace``, whose arguments are checked."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace  # so that the names and types of fields are checked
else:
    from msgspec.structs import replace

__all__ = ["replace"]

"""Copies of values with some fields changed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace  # so that the names and types of fields are checked
else:
    import dataclasses

    from msgspec import Struct, structs

    def replace(value, /, **changes):
        """``dataclasses.replace`` of a dataclass or a ``Struct``."""
        made = structs.replace if isinstance(value, Struct) else dataclasses.replace
        return made(value, **changes)


__all__ = ["replace"]

"""Copies of values with some fields changed."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace  # so that the names and types of fields are checked
else:

    def replace(value, /, **changes: Any):
        """``dataclasses.replace`` that copies a value without slots whole and runs no ``__init__``.

        For values that check nothing when they are made. Raises ``TypeError`` for a field that there is not.
        """
        fields = getattr(value, "__dict__", None)
        if fields is None:
            return dataclasses.replace(value, **changes)
        copied = fields.copy()
        copied.update(changes)
        if len(copied) != len(fields):
            raise TypeError(f"{type(value).__name__} has no field {min(changes.keys() - fields.keys())}")
        new = object.__new__(type(value))
        object.__setattr__(new, "__dict__", copied)
        return new


__all__ = ["replace"]

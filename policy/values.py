"""Copies of values with some fields changed."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace  # so that the names and types of fields are checked
else:
    _new, _set = object.__new__, object.__setattr__

    def replace(value, /, **changes: Any):
        """``dataclasses.replace`` that copies a value without slots whole and runs no ``__init__``.

        For values that check nothing when they are made. Raises ``TypeError`` for a field that there is not.
        """
        try:
            fields = value.__dict__
        except AttributeError:
            return dataclasses.replace(value, **changes)
        copied = fields.copy()
        copied.update(changes)
        if len(copied) != len(fields):
            raise TypeError(f"{type(value).__name__} has no field {min(changes.keys() - fields.keys())}")
        new = _new(value.__class__)
        _set(new, "__dict__", copied)
        return new


__all__ = ["replace"]

"""What differs between two documents, line by line, for somebody who is to sign the second."""

import json
from typing import cast

from policy.encoding import Json, canonical


def differences(old: Json, new: Json, *, path: str = "") -> list[str]:
    """One line for each place that differs; items of a list are told apart by name, if each has one."""
    if canonical(old) == canonical(new):  # Python holds true to be 1
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return _of_objects(old, new, path)
    if isinstance(old, list) and isinstance(new, list):
        names = _names(old), _names(new)
        if names[0] is not None and names[1] is not None:
            return _of_named(names[0], names[1], path)
        if not any(isinstance(item, dict | list) for item in (*old, *new)):
            return _of_values(old, new, path)
    return [f"{path}: {_text(old)} becomes {_text(new)}"]


def _of_objects(old: dict[str, Json], new: dict[str, Json], path: str) -> list[str]:
    lines = []
    for key in sorted({*old, *new}):
        place = f"{path}.{key}" if path else key
        if key not in old:
            lines.append(f"{place}: added, {_text(new[key])}")
        elif key not in new:
            lines.append(f"{place}: taken out, it was {_text(old[key])}")
        else:
            lines += differences(old[key], new[key], path=place)
    return lines


def _of_named(old: dict[str, Json], new: dict[str, Json], path: str) -> list[str]:
    lines = _of_objects(old, new, path)
    kept = [name for name in old if name in new], [name for name in new if name in old]
    if kept[0] != kept[1]:
        lines.append(f"{path}: another order, now {', '.join(new)}")
    elif [name for name in new if name not in old] and list(new)[: len(kept[1])] != kept[1]:
        lines.append(f"{path}: the order is now {', '.join(new)}")
    return lines


def _of_values(old: list[Json], new: list[Json], path: str) -> list[str]:
    before, after = [_text(item) for item in old], [_text(item) for item in new]
    lines = [f"{path}: {item} taken out" for item in before if item not in after]
    lines += [f"{path}: {item} added" for item in after if item not in before]
    return lines or [f"{path}: {_text(old)} becomes {_text(new)}"]


def _names(items: list[Json]) -> dict[str, Json] | None:
    """The items by name; None when one has none, or two have the same."""
    named = {
        str(item["name"]): cast("Json", item) for item in items if isinstance(item, dict) and "name" in item
    }
    return named if len(named) == len(items) else None


def _text(value: Json) -> str:
    return json.dumps(value)

"""Notes when chosen calls begin and end; Python loads it by its name in the processes ``timeline`` starts.

A line is the monotonic clock, which processes of a machine share, ``+`` or ``-``, and the call. It measures,
and no test uses it.
"""

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

STEPS = {
    "custody.service": ("Service.submit",),
    "custody.adapters.together": ("CallsTogether._carry_out",),
    "custody.sequencer": ("Sequencer._make_durable", "Sequencer._meet"),
    "custody.payments": ("plan", "reserve", "sign"),
    "custody.adapters.node_link": ("NodeLink.append", "NodeLink.finish"),
    "custody.combining": ("combine",),
    "custody.publish": ("Publisher._publish",),
    "signer_nodes.runtime": ("NodeRuntime._append", "NodeRuntime._finish"),
    "signer_nodes.adapters.store": ("NodeStore.append", "NodeStore.add_marks", "NodeStore.set_quorum"),
    "signer_nodes.hsm.device": ("Pkcs11Hsm.write_record", "Pkcs11Hsm.sign_statement"),
}


class Noting(Loader):
    """Loads a module as it is, and puts itself around its steps."""

    def __init__(self, inner: Loader, note: Callable[[str, str], None]) -> None:
        self._inner, self._note = inner, note

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        for step in STEPS[module.__name__]:
            *path, name = step.split(".")
            owner: Any = functools.reduce(getattr, path, module)
            setattr(owner, name, around(getattr(owner, name), step, note=self._note))


class Finder(MetaPathFinder):
    """Finds what the others find."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in STEPS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = Noting(spec.loader, self._note)
                return spec
        return None


def around(call: Any, step: str, *, note: Callable[[str, str], None]) -> Any:
    """The same call, noted."""
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def waited_for(*arguments: Any, **options: Any) -> Any:
            label = f"{step} {getattr(arguments[0], 'name', '')}".strip()
            note("+", label)
            try:
                return await call(*arguments, **options)
            finally:
                note("-", label)

        return waited_for

    @functools.wraps(call)
    def noted(*arguments: Any, **options: Any) -> Any:
        note("+", step)
        try:
            return call(*arguments, **options)
        finally:
            note("-", step)

    return noted


if folder := os.environ.get("QUORUMKEEP_TIMELINE"):
    lines = (Path(folder) / f"{os.getpid()}.steps").open("a", buffering=1)
    sys.meta_path.insert(0, Finder(lambda way, step: print(time.monotonic_ns(), way, step, file=lines)))

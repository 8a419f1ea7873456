"""A contract type for import-linter, named in pyproject.toml."""

from collections.abc import Iterable

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain.imports import Module


class ForbiddenWherePresent(ForbiddenContract):
    """Import-linter's ``forbidden`` for modules the plan names before they are written.

    An absent module cannot be imported, so the contract holds; it binds from the day it appears.
    """

    type_name = "forbidden_where_present"

    def _check_all_modules_exist_in_graph(self, modules: Iterable[Module], graph: ImportGraph) -> None:
        """Accept every module; the parent looks only at those in the graph."""

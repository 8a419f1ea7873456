"""The families of chains that a demo runs on. One line a family; all about it stands in its own file."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from cli.demo.chains import bitcoin, evm, solana
from cli.demo.chains.family import Family
from cli.results import Misuse
from policy.errors import OperationalError

EVM: Final = evm.FAMILY
FAMILIES: Final[Mapping[str, Family]] = {one.name: one for one in (EVM, bitcoin.FAMILY, solana.FAMILY)}


def chosen(text: str) -> tuple[Family, ...]:
    """The families of a list such as ``evm,bitcoin``, in the order of the table.

    Raises ``Misuse`` for a name that is none or stands twice, and ``OperationalError`` where a package is
    missing.
    """
    wanted = [name.strip() for name in text.split(",")]
    if set(wanted) - FAMILIES.keys() or len(set(wanted)) != len(wanted):
        raise Misuse(f"--chains {text[:80]!r}: name some of {', '.join(FAMILIES)}, each once, with commas")
    found = tuple(family for name, family in FAMILIES.items() if name in wanted)
    for family in found:
        check_installed(family)
    return found


def check_installed(family: Family) -> None:
    """Refuse a family whose test chain is not installed. Raises ``OperationalError``."""
    missing = [module for module in family.needs if find_spec(module) is None]
    if missing:
        raise OperationalError(
            f"--chains {family.name}: its test chain needs {', '.join(missing)} of the extra 'demo': "
            "run make setup in the checkout, or pip install 'quorumkeep[demo]'"
        )

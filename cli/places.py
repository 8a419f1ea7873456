"""How much one machine holds, as far as addresses tell: whoever has it has every node on it."""

from collections.abc import Iterable, Mapping

from policy.model import Policy
from policy.roster import Roster

UNSEEN = (
    "An address does not show who runs a machine: see to it that no person, and no account with a provider, "
    "has min_signers nodes of a key or more than f cosigners."
)


def shared_places(addresses: Mapping[str, str], *, policy: Policy, roster: Roster) -> tuple[str, ...]:
    """What is lost with one host, in sentences; nothing when no host alone can sign or cheat.

    ``addresses`` are HOST:PORT by cosigner. Hosts are compared as they are written.
    """
    hosts: dict[str, set[str]] = {}
    for name, address in addresses.items():
        hosts.setdefault(address.rpartition(":")[0].lower(), set()).add(name)
    found = []
    for host, names in sorted(hosts.items()):
        for key in policy.keys.values():
            held = names & set(key.participants)
            if len(held) >= key.min_signers:
                found.append(
                    f"{_listed(held)} are all on {host}: whoever has that machine can sign everything with "
                    f"key {key.name} (min_signers {key.min_signers}), whatever the policy says"
                )
        held = names & set(roster.cosigners)
        if len(held) > roster.f:
            found.append(
                f"{_listed(held)} are all on {host}: whoever has that machine has more than f = {roster.f} "
                "cosigners, and no limit holds"
            )
    return tuple(found)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

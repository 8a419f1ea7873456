"""How much one machine holds, as far as addresses tell: whoever has it has every node on it."""

from collections.abc import Iterable, Iterator, Mapping

from policy.model import Policy
from policy.roster import Roster

UNSEEN = (
    "An address does not show who runs a machine: see to it that no person, and no account with a provider, "
    "has min_signers nodes of a key or more than f cosigners."
)


SIGNS, CHEATS = "host-signs", "one-host"


def shared_places(addresses: Mapping[str, str], *, policy: Policy, roster: Roster) -> tuple[str, ...]:
    """What is lost with one host, in sentences; nothing when no host alone can sign or cheat."""
    return tuple(said for _, _, said in shared_hosts(addresses, policy=policy, roster=roster))


def shared_hosts(
    addresses: Mapping[str, str], *, policy: Policy, roster: Roster
) -> Iterator[tuple[str, str, str]]:
    """Which hosts can sign, or cheat, alone: the code, the host, and a sentence.

    ``addresses`` are HOST:PORT by cosigner. Hosts are compared as they are written.
    """
    hosts: dict[str, set[str]] = {}
    for name, address in addresses.items():
        hosts.setdefault(address.rpartition(":")[0].lower(), set()).add(name)
    for host, names in sorted(hosts.items()):
        for key in policy.keys.values():
            held = names & set(key.participants)
            if len(held) >= key.min_signers:
                said = (
                    f"{_listed(held)} are all on {host}: whoever has that machine can sign everything with "
                    f"key {key.name} (min_signers {key.min_signers}), whatever the policy says"
                )
                yield SIGNS, host, said
        held = names & set(roster.cosigners)
        if len(held) > roster.f:
            said = (
                f"{_listed(held)} are all on {host}: whoever has that machine has more than f = {roster.f} "
                "cosigners, and no limit holds"
            )
            yield CHEATS, host, said


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

"""The lists that change address by address, as ``status`` shows them. Pure."""

from policy.address_book import REMOVED
from policy.encoding import Json
from policy.listing import parse_listing
from policy.state import PendingChange, State

SHOWN_MAX = 20


def lists_shown(state: State) -> list[Json]:
    """Each list with its numbers, and what was put on it or taken off since the policy took effect.

    Of each at most ``SHOWN_MAX`` stand there, in the order of their addresses; ``added_count`` and
    ``removed_count`` say how many there are.
    """
    if state.policy_or_none is None:
        return []
    return [_list(state, name) for name in sorted(state.policy.books)]


def pending_text(change: PendingChange) -> str:
    """What the pending change of a list is, in words; empty for another change."""
    if change.kind != "address":
        return ""
    listing = parse_listing(change.document)
    if listing.adds:
        return f"add {listing.address} ({listing.label}) to {listing.list}"
    return f"remove {listing.address} from {listing.list}"


def _list(state: State, name: str) -> dict[str, Json]:
    book = state.policy.books[name]
    mine = sorted((address, label) for (place, address), label in state.book.items() if place == name)
    added: list[Json] = [{"address": a, "label": label} for a, label in mine if label != REMOVED]
    removed: list[Json] = [address for address, label in mine if label == REMOVED]
    return {
        "list": name,
        "quorum": book.quorum,
        "cool_down_ms": book.cool_down_ms,
        "addresses": len(state.policy.lists[name]),
        "added": added[:SHOWN_MAX],
        "added_count": len(added),
        "removed": removed[:SHOWN_MAX],
        "removed_count": len(removed),
    }

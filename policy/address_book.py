"""Lists that change one address at a time, each under a quorum and a cool-down that the policy gives it.

The policy in force is its document with the book applied, so that every rule sees an address as soon as it
is listed. The document's hash stays, and approvals with it: each of them names the destination it is for.

- A change that can let something through waits out the cool-down, and one administrator can veto it; one
  that cannot is in effect at once. So an address comes late onto a list of customers and leaves it at once,
  and the other way round for a list whose addresses are kept out.
- A change is drawn up for one policy. One that waits while another policy takes effect is dropped.
- A new policy takes over what it lists itself. What was added besides stays, and so does the removal of what
  it goes on listing, as long as it has the list with a quorum of its own; another policy ends both.
"""

import dataclasses
from collections.abc import Mapping

from immutables import Map

from policy import entries as e
from policy.admission import Inert, check_origin
from policy.document import ADDRESSES_MAX
from policy.encoding import Json, canonical, tagged_hash
from policy.list_uses import is_named, may_let_through
from policy.listing import Listing, listing_id, parse_listing
from policy.model import Policy
from policy.roster import verified_signers
from policy.state import PendingChange, State
from policy.values import replace

REMOVED = ""
PENDING_ADDRESSES_MAX = 64
KIND = "address"
Place = tuple[str, str]


def admit_address(state: State, entry: e.AddressEntry) -> tuple[State, bytes]:
    """Take in a signed change of a list, once: in effect at once, or pending if it could let more through."""
    listing, identifier = entry.listing, listing_id(entry.body)
    _check(state, listing)
    if identifier in state.changes:
        raise Inert("this very change was taken in before: signatures serve once, draw it up anew")
    book = state.policy.books[listing.list]
    signers = verified_signers(
        KIND, entry.body, signatures=entry.signatures, keys=state.roster.administrators
    )
    if len(signers) < book.quorum:
        raise Inert(f"list {listing.list} needs {book.quorum} administrators, got {len(signers)}")
    state = replace(state, changes=state.changes.set(identifier, True))
    if not waits(state.policy, listing):
        return _in_effect(state, listing), identifier
    effective_ms = state.time_ms + book.cool_down_ms
    change = PendingChange(KIND, entry.body, identifier, listing.policy, effective_ms, state.size)
    return replace(state, pending=(*state.pending, change)), identifier


def activate_address(state: State, change: PendingChange) -> State:
    """A change whose cool-down is over, in effect; one that means nothing any more is dropped."""
    listing = parse_listing(change.document)
    if change.previous != state.policy_hash or listing.list not in state.policy.books:
        return state
    return _in_effect(state, listing)


def waits(policy: Policy, listing: Listing) -> bool:
    """Whether this could let something through that was not before; an address on a list for later does."""
    laxer = may_let_through(policy, listing.list, adds=listing.adds)
    return laxer or (listing.adds and not is_named(policy, listing.list))


def with_book(policy: Policy, book: Mapping[Place, str]) -> Policy:
    """A policy with what was put on its lists, by its label, and what was taken off them."""
    if not book:
        return policy
    lists = {name: set(policy.lists[name]) for name, _ in book}
    labels = dict(policy.labels)
    for (name, address), label in book.items():
        labels.pop(f"{name} {address}", None)
        if label == REMOVED:
            lists[name].discard(address)
        else:
            lists[name].add(address)
            labels[f"{name} {address}"] = label
    changed = {name: frozenset(addresses) for name, addresses in lists.items()}
    return dataclasses.replace(policy, lists={**policy.lists, **changed}, labels=labels)


def carried_over(book: Map[Place, str], policy: Policy) -> Map[Place, str]:
    """What of the book still says something beside a new document."""
    kept = {
        (name, address): label
        for (name, address), label in book.items()
        if name in policy.books and (address in policy.lists[name]) == (label == REMOVED)
    }
    return Map(kept)


def book_hash(book: Mapping[Place, str]) -> bytes:
    """What cosigners compare: empty without a book, else 32 bytes."""
    rows: list[Json] = [[name, address, label] for (name, address), label in sorted(book.items())]
    return tagged_hash("address-book", canonical(rows)) if rows else b""


def _check(state: State, listing: Listing) -> None:
    check_origin(state, listing.origin)
    if listing.policy != state.policy_hash:
        raise Inert("the change was drawn up for another policy than the one in force")
    if listing.list not in state.policy.books:
        raise Inert(f"the policy has no list {listing.list} with a quorum of its own: change the policy")
    listed = state.policy.lists[listing.list]
    if (listing.address in listed) is listing.adds:
        raise Inert(f"{listing.address} is {'already' if listing.adds else 'not'} on list {listing.list}")
    if listing.adds and len(listed) >= ADDRESSES_MAX:
        raise Inert(f"list {listing.list} has {ADDRESSES_MAX} addresses: take one off first")
    waiting = [parse_listing(change.document) for change in state.pending if change.kind == KIND]
    if any((one.list, one.address) == (listing.list, listing.address) for one in waiting):
        raise Inert(f"a change of {listing.address} on list {listing.list} is pending: veto that first")
    if len(waiting) >= PENDING_ADDRESSES_MAX:
        raise Inert(f"{PENDING_ADDRESSES_MAX} changes of lists are pending already; veto some first")


def _in_effect(state: State, listing: Listing) -> State:
    label = listing.label if listing.adds else REMOVED
    place = (listing.list, listing.address)
    book, policy = state.book.set(place, label), with_book(state.policy, {place: label})
    return replace(state, book=book, book_hash=book_hash(book), policy_or_none=policy)

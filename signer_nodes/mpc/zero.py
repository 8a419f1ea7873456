"""Shares of zero from pairwise seeds, without a message: one for every (session, instance, party).

The party of the lower index adds what the two derive from their seed, the other subtracts it, so that
the shares of a signing set sum to zero. ``session`` covers key, epoch, set, batch and boots.
"""

import hashlib
from collections.abc import Mapping

from policy.encoding import tagged_hash
from signer_nodes.mpc.curve import Q


def zero_share(seeds: Mapping[int, bytes], *, me: int, session: bytes, b: int) -> int:
    """ζ of party ``me`` for instance ``b``; ``seeds`` has the 32-byte seed shared with each peer of the set.

    Must be used for one instance only: the caller's session id must never repeat.
    """
    total = 0
    for peer, seed in seeds.items():
        term = _term(seed, session, low=min(me, peer), high=max(me, peer), b=b)
        total += term if me < peer else -term
    return total % Q


def _term(seed: bytes, session: bytes, *, low: int, high: int, b: int) -> int:
    numbers = b"".join(number.to_bytes(2, "big") for number in (low, high, b))
    key = tagged_hash("quorumkeep/mpc/zero-share/v1", seed, session, numbers)
    return int.from_bytes(hashlib.sha512(key).digest(), "big") % Q

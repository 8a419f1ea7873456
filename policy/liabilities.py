"""What is owed to customers, as one root for each asset: a Merkle tree that adds up.

Rules, each for an attack on trees of this kind (docs/spec/liabilities.md):
(1) an amount is from 0 to 2^256 - 1, and so is every sum: nothing negative or beyond takes from a total;
(2) a node's hash covers both children's hashes and both children's sums: of a hash of the added sum alone, a
    sum can be left out;
(3) a leaf says whose it is: two customers are never shown one leaf;
(4) the root covers asset and number of leaves, and the shape follows from the number: nothing is padded, no
    leaf stands in the place of a node or twice;
(5) a leaf has a salt of its own, and leaves stand in order of their hashes: who is shown a path learns
    amounts beside it, and not whose.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from policy.encoding import Json, tagged_hash
from policy.errors import CallerError, MalformedError
from policy.fields import Fields
from policy.ids import AMOUNT_MAX

FORMAT, PROOF_FORMAT = "quorumkeep/liabilities/1", "quorumkeep/liability/1"
HASH_BYTES: Final = 32
CUSTOMER_BYTES_MAX, ASSETS_MAX, PATH_MAX = 256, 256, 64
AS_OF_LENGTH = len("2026-10-31")


class Node(NamedTuple):
    """A hash, and what all leaves under it add up to."""

    hash: bytes
    total: int


@dataclass(frozen=True, slots=True)
class Liability:
    """What one customer is owed of one asset, in base units."""

    customer: str
    asset: str
    amount: int

    def leaf(self, salt: bytes) -> Node:
        """The leaf under a salt of 32 bytes that nobody else is told."""
        fields = (salt, self.customer.encode(), self.asset.encode(), _number(self.amount))
        return Node(tagged_hash("liability", *fields), self.amount)

    def salt(self, secret: bytes) -> bytes:
        """The leaf's salt, under the secret of 32 random bytes of one publication."""
        name = tagged_hash("liability-salt", self.customer.encode(), self.asset.encode())
        return hmac.digest(secret, name, "sha256")


@dataclass(frozen=True, slots=True)
class AssetRoot:
    """What is published of one asset."""

    asset: str
    count: int
    top: Node

    @property
    def hash(self) -> bytes:
        """The asset's root."""
        fields = (self.asset.encode(), self.count.to_bytes(8, "big"), self.top.hash, _number(self.top.total))
        return tagged_hash("liabilities-asset", *fields)


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a day: a root for each asset, and one over all of them."""

    as_of: str
    assets: Mapping[str, AssetRoot]

    @property
    def root(self) -> bytes:
        """The one root, which reserves are held against."""
        hashes = (self.assets[name].hash for name in sorted(self.assets))
        return tagged_hash("liabilities", self.as_of.encode(), *hashes)

    def to_json(self) -> dict[str, Json]:
        """The document; ``read_published`` is its inverse."""
        assets: list[Json] = [
            {"asset": one.asset, "count": one.count, "hash": one.top.hash.hex(), "total": str(one.top.total)}
            for _, one in sorted(self.assets.items())
        ]
        return {"format": FORMAT, "as_of": self.as_of, "assets": assets, "root": self.root.hex()}


class Tree:
    """All leaves of one asset."""

    def __init__(self, asset: str, leaves: Sequence[Node]) -> None:
        self.asset = asset
        self._rows = [sorted(leaves)]
        if not leaves or len({one.hash for one in leaves}) < len(leaves):
            raise CallerError(f"{asset}: a tree has leaves, each of another customer")
        while len(self._rows[-1]) > 1:
            self._rows.append(_row_above(self._rows[-1]))
        self._places = {one.hash: index for index, one in enumerate(self._rows[0])}

    @property
    def root(self) -> AssetRoot:
        """What is published of it."""
        return AssetRoot(self.asset, len(self._rows[0]), self._rows[-1][0])

    def path(self, leaf: Node) -> tuple[int, tuple[Node, ...]]:
        """The leaf's index, and its siblings from below; a node without one is the same a row above."""
        index = place = self._places[leaf.hash]
        found: list[Node] = []
        for row in self._rows[:-1]:
            if place ^ 1 < len(row):
                found.append(row[place ^ 1])
            place //= 2
        return index, tuple(found)


def grow(liabilities: Sequence[Liability], secret: bytes) -> dict[str, Tree]:
    """A tree for each asset. Raises ``CallerError`` for a customer who is there twice, or a sum too large."""
    leaves: dict[str, list[Node]] = {}
    for one in liabilities:
        leaves.setdefault(one.asset, []).append(one.leaf(one.salt(secret)))
    return {asset: Tree(asset, found) for asset, found in leaves.items()}


def above(left: Node, right: Node) -> Node:
    """The node over two. Raises ``CallerError`` for a sum beyond all amounts."""
    total = left.total + right.total
    if total > AMOUNT_MAX:
        raise CallerError("amounts add up to more than 2^256 - 1 base units")
    return Node(
        tagged_hash("liabilities-node", left.hash, _number(left.total), right.hash, _number(right.total)),
        total,
    )


def climb(leaf: Node, index: int, *, count: int, path: Sequence[Node]) -> Node:
    """The top over a leaf by its siblings, in a tree of ``count`` leaves. Raises ``MalformedError``."""
    if not 0 <= index < count:
        raise MalformedError(f"leaf {index} is not among {count}")
    node, siblings = leaf, list(path)
    while count > 1:
        if index ^ 1 < count:
            if not siblings:
                raise MalformedError("the path is too short")
            sibling = siblings.pop(0)
            node = above(sibling, node) if index % 2 else above(node, sibling)
        index, count = index // 2, (count + 1) // 2
    if siblings:
        raise MalformedError("the path is too long")
    return node


def read_published(body: Json) -> Published:
    """Read what was published; its root follows. Raises ``MalformedError``."""
    fields = Fields(body, "liabilities")
    fields.choice("format", FORMAT)
    as_of = fields.text("as_of", length_max=AS_OF_LENGTH)
    assets = fields.objects("assets", _read_root, count_max=ASSETS_MAX)
    published = Published(as_of, {one.asset: one for one in assets})
    root = fields.hex("root", length=HASH_BYTES)
    fields.done()
    if len(published.assets) < len(assets) or root != published.root:
        raise MalformedError("liabilities: the root is not that of the assets, each of which is there once")
    return published


def proof_of(
    customer: str, liabilities: Sequence[Liability], *, trees: Mapping[str, Tree], secret: bytes
) -> Json:
    """What one customer is handed, who is owed these."""
    leaves: list[Json] = []
    for one in liabilities:
        salt = one.salt(secret)
        index, path = trees[one.asset].path(one.leaf(salt))
        siblings: list[Json] = [{"hash": node.hash.hex(), "total": str(node.total)} for node in path]
        leaves.append(
            {
                "asset": one.asset,
                "amount": str(one.amount),
                "salt": salt.hex(),
                "index": index,
                "path": siblings,
            }
        )
    return {"format": PROOF_FORMAT, "customer": customer, "leaves": leaves}


def check_proof(body: Json, published: Published, *, customer: str) -> list[Liability]:
    """What a customer is owed by a proof under what was published. Raises ``MalformedError`` with why."""
    fields = Fields(body, "proof")
    fields.choice("format", PROOF_FORMAT)
    if fields.text("customer", length_max=CUSTOMER_BYTES_MAX) != customer:
        raise MalformedError(f"the proof is not of the customer {customer!r}: ask for your own")
    found = fields.objects("leaves", _read_leaf, count_max=ASSETS_MAX)
    fields.done()
    if len({one.asset for one in found}) < len(found):
        raise MalformedError("proof: an asset is there twice")
    return [_checked(one, published, customer) for one in found]


@dataclass(frozen=True, slots=True)
class _Leaf:
    asset: str
    amount: int
    salt: bytes
    index: int
    path: tuple[Node, ...]


def _checked(one: _Leaf, published: Published, customer: str) -> Liability:
    root, owed = published.assets.get(one.asset), Liability(customer, one.asset, one.amount)
    if root is None:
        raise MalformedError(f"nothing was published of {one.asset}")
    try:
        top = climb(owed.leaf(one.salt), one.index, count=root.count, path=one.path)
    except CallerError as error:
        raise MalformedError(f"{one.asset}: {error}") from error
    if top != root.top:
        raise MalformedError(
            f"{one.asset}: this amount is not in what was published: keep both files, they are evidence"
        )
    return owed


def _read_root(fields: Fields) -> AssetRoot:
    top = Node(fields.hex("hash", length=HASH_BYTES), fields.amount("total"))
    return AssetRoot(fields.name("asset"), fields.integer("count", low=1), top)


def _read_leaf(fields: Fields) -> _Leaf:
    return _Leaf(
        fields.name("asset"),
        fields.amount("amount"),
        fields.hex("salt", length=HASH_BYTES),
        fields.integer("index"),
        fields.objects("path", _read_node, count_max=PATH_MAX),
    )


def _read_node(fields: Fields) -> Node:
    return Node(fields.hex("hash", length=HASH_BYTES), fields.amount("total"))


def _row_above(row: Sequence[Node]) -> list[Node]:
    paired = [above(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
    return paired + ([row[-1]] if len(row) % 2 else [])


def _number(amount: int) -> bytes:
    if not 0 <= amount <= AMOUNT_MAX:
        raise CallerError(f"{amount} is no amount: it is from 0 to 2^256 - 1")
    return amount.to_bytes(HASH_BYTES, "big")

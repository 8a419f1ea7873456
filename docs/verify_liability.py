"""Check that what you are owed was counted: python verify_liability.py proof.json liabilities.json CUSTOMER

Needs the standard library alone. liabilities.json is what everybody was shown; CUSTOMER is your own name at
the company, as you know it. What is not in your proof was not counted; that others were, only they can say.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path


def need(holds, why):
    if not holds:
        raise ValueError(why)


def tagged(tag, *fields):
    parts = (tag.encode(), *fields)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def number(text):
    """An amount or a sum: never negative, never beyond 256 bits."""
    need(
        isinstance(text, str) and text.isascii() and text.isdigit() and str(int(text)) == text,
        f"{text!r} is none",
    )
    need(int(text) < 2**256, "an amount is too large")
    return int(text)


def wide(value):
    need(value < 2**256, "the sum is too large")
    return value.to_bytes(32, "big")


def top_of(node, total, index, count, path):
    """Climb from a leaf: each hash covers both sums, and each sum is both added up."""
    siblings = [(bytes.fromhex(one["hash"]), number(one["total"])) for one in path]
    need(0 <= index < count, "the leaf is not among those that were counted")
    while count > 1:
        if index ^ 1 < count:
            need(siblings, "the path is too short")
            other, beside = siblings.pop(0)
            left, right = ((other, beside), (node, total))[:: 1 if index % 2 else -1]
            node = tagged("liabilities-node", left[0], wide(left[1]), right[0], wide(right[1]))
            total += beside
            wide(total)
        index, count = index // 2, (count + 1) // 2
    need(not siblings, "the path is too long")
    return node, total


def roots_of(published):
    """What is published of each asset, once the one root is found to be theirs."""
    need(published["format"] == "quorumkeep/liabilities/1", "this is not what is published")
    roots, hashes = {one["asset"]: one for one in published["assets"]}, []
    need(len(roots) == len(published["assets"]), "an asset is there twice")
    for asset, one in sorted(roots.items()):
        count, top = one["count"].to_bytes(8, "big"), bytes.fromhex(one["hash"])
        hashes.append(tagged("liabilities-asset", asset.encode(), count, top, wide(number(one["total"]))))
    root = tagged("liabilities", published["as_of"].encode(), *hashes).hex()
    need(root == published["root"], "the root is not that of the assets")
    return roots


def check(proof, published, customer):
    """What the customer is owed, line by line; raises at the first thing that does not hold."""
    need(proof["format"] == "quorumkeep/liability/1", "this is no proof")
    need(proof["customer"] == customer, f"the proof is of {proof['customer']!r}, not of you")
    roots, names = roots_of(published), [one["asset"] for one in proof["leaves"]]
    need(len(set(names)) == len(names), "an asset is there twice")
    yield f"as of {published['as_of']}, root {published['root']}"
    for one in proof["leaves"]:
        asset, amount, salt = one["asset"], number(one["amount"]), bytes.fromhex(one["salt"])
        need(asset in roots, f"nothing was published of {asset}")
        leaf = tagged("liability", salt, customer.encode(), asset.encode(), wide(amount))
        found = top_of(leaf, amount, one["index"], roots[asset]["count"], one["path"])
        wanted = bytes.fromhex(roots[asset]["hash"]), number(roots[asset]["total"])
        need(found == wanted, f"{asset}: this amount is not in what was published; keep both files")
        yield f"{asset}: {amount} base units are in the total of {wanted[1]}"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        print(
            *check(*(json.loads(Path(name).read_text()) for name in sys.argv[1:3]), sys.argv[3]),
            "ok",
            sep="\n",
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        sys.exit(f"WRONG: {error!r}")

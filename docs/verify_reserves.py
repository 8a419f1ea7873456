"""Check what ``quorumkeep evidence reserves prove`` wrote: python verify_reserves.py reserves.json trust.json

Needs verify_withdrawal, verify_liability and verify_evidence beside it. trust.json is from elsewhere.
Checked: every statement's signature under the key of the log, that each wallet's accounts are all of the
policy's paths, observers' signatures, sums, and what is owed. Not checked, as that takes the whole log: that
policy, rosters and keys were those in force, that nothing newer is stated, what may still go out.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

from verify_evidence import check_entries
from verify_liability import roots_of
from verify_withdrawal import (
    HASHED,
    canonical,
    check_checkpoint,
    derive,
    keccak,
    need,
    tagged,
    utils,
    verify,
)

CONTRACT = "0x" + keccak(b"quorumkeep/proof-of-reserves")[-20:].hex()
DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
TYPE = b"ProofOfReserves(address account,string origin,uint64 size,bytes32 root,"
TYPE += b"string challenge,bytes32 liabilities)"
NOTHING_OWED = "0x" + "00" * 32


def digest(domain, message):
    """What is signed, by EIP-712."""
    parts = [DOMAIN_TYPE, domain["name"].encode(), domain["version"].encode()]
    separator = [keccak(part) for part in parts] + [int(domain["chainId"]).to_bytes(32, "big")]
    separator.append(bytes.fromhex(domain["verifyingContract"][2:]).rjust(32, b"\0"))
    fields = [keccak(TYPE), bytes.fromhex(message["account"][2:]).rjust(32, b"\0")]
    fields += [keccak(message["origin"].encode()), int(message["size"]).to_bytes(32, "big")]
    fields += [bytes.fromhex(message["root"][2:]), keccak(message["challenge"].encode())]
    fields.append(bytes.fromhex(message["liabilities"][2:]))
    return keccak(b"\x19\x01" + keccak(b"".join(separator)) + keccak(b"".join(fields)))


def address(key):
    numbers = key.public_numbers()
    return "0x" + keccak(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))[-20:].hex()


def grown(old, size, root, proof, whole=True):
    """The roots of trees of old and of size entries, by a consistency proof: RFC 6962, section 2.1.2."""
    if old == size:
        need(len(proof) == (not whole), "a proof of a head is too long")
        return (root, root) if whole else (proof[0], proof[0])
    left = 1 << (size - 1).bit_length() - 1
    if old <= left:
        first, second = grown(old, left, root, proof[:-1], whole)
        return first, sha256(b"\1" + second + proof[-1]).digest()
    pair = grown(old - left, size - left, root, proof[:-1], False)
    return tuple(sha256(b"\1" + proof[-1] + one).digest() for one in pair)


def check_heads(found, size, root):
    """The heads that statements name, each found to be one of this log's."""
    heads = set()
    for one in found["heads"]:
        old, proof = bytes.fromhex(one["root"]), [bytes.fromhex(part) for part in one["proof"]]
        good = 0 < one["size"] <= size and grown(one["size"], size, old, proof) == (old, root)
        need(good, f"the head of {one['size']} entries is not this log's")
        heads.add((str(one["size"]), "0x" + one["root"]))
    return heads


def check_statement(one, key, chain, found, entries, heads, trust):
    """The account's key signed these words, and the log has request, reservation and signature of it."""
    document, signature = json.loads(bytes.fromhex(one["document"])), bytes.fromhex(one["signature"])
    domain, message, who = document["domain"], document["message"], f"the statement of {one['account']}"
    need(domain["verifyingContract"] == CONTRACT, f"{who} is for the contract {domain['verifyingContract']}")
    need(f"evm:{domain['chainId']}" == chain, f"{who} is of another chain")
    owed = "0x" + found["liabilities"]["root"] if "liabilities" in found else NOTHING_OWED
    said = (message["account"], message["origin"], message["challenge"], message["liabilities"])
    need(said == (one["account"], trust["origin"], found["challenge"], owed), f"{who} says something else")
    need((message["size"], message["root"]) in heads, f"{who} names a head that is not this log's")
    pair = utils.encode_dss_signature(*(int.from_bytes(signature[x : x + 32], "big") for x in (0, 32)))
    verify(key, pair, digest(domain, message), who, HASHED)
    asked, reserved, signed = (entries[index] for index in one["entries"])
    leaf = sha256(b"\0" + canonical(reserved)).digest()
    job = tagged("job", trust["origin"].encode(), one["entries"][1].to_bytes(8, "big"), leaf).hex()
    same = asked["body"]["typed_data"] == reserved["body"]["tx"] == one["document"]
    need(
        same and reserved["body"]["request"] == tagged("request", canonical(asked["body"])).hex(),
        f"{who}: asked",
    )
    need((signed["body"]["job"], signed["body"]["signature"]) == (job, one["signature"]), f"{who}: signed")


def check_wallet(shown, policy, keys, found, entries, heads, trust):
    """Whether a wallet is proven: all its accounts, as they follow from policy and key."""
    wallet = policy["wallets"][shown["wallet"]]
    need(
        (wallet["chain"], wallet["tier"]) == (shown["chain"], shown["tier"]), f"{shown['wallet']} is another"
    )
    if not shown["chain"].startswith("evm:") or wallet["key"] not in keys:
        need(not shown["proven"], f"{shown['wallet']} is called proven")
        return False
    derived = [derive(keys[wallet["key"]], path) for path in wallet["paths"]]
    accounts = [address(key) for key in derived]
    need([one["account"] for one in shown["accounts"]] == accounts, f"{shown['wallet']} has other accounts")
    for one, key in zip(shown["accounts"], derived, strict=True):
        if "document" in one:
            check_statement(one, key, shown["chain"], found, entries, heads, trust)
    proven = all("document" in one for one in shown["accounts"])
    need(proven == shown["proven"], f"{shown['wallet']} is called proven, and is not, or the other way")
    return proven


def check_held(one, entries):
    """What observers stated of a wallet and an asset, f + 1 of the roster's."""
    if "entry" not in one:
        return 0
    entry, roster = entries[one["entry"]], entries[one["roster_at"]]["body"]["roster"]
    body, names = entry["body"], set()
    stated = (entry["kind"], body["wallet"], body["asset"], body["amount"])
    wanted = ("holdings", one["wallet"], one["asset"], one["stated"])
    need(stated == wanted, f"entry {one['entry']} is another's")
    keys = {observer["name"]: observer["key"] for observer in roster["observers"]}
    for signature in entry["signatures"]:
        name, text = signature["name"], b"quorumkeep/v1 holdings\n" + canonical(body)
        verify(keys[name], bytes.fromhex(signature["signature"]), text, f"the statement of {name}")
        names.add(name)
    need(len(names) > roster["f"], f"entry {one['entry']} is by {sorted(names)} alone")
    need(0 <= int(one["least"]) <= int(one["stated"]), "at least there is no more than is stated")
    return int(one["least"])


def check_assets(found, held, proven):
    """The sums again, and what they come to."""
    roots = roots_of(found["liabilities"]) if "liabilities" in found else {}
    owed = {name: int(one["total"]) for name, one in roots.items()}
    listed = {one["asset"] for one in found["assets"]}
    need(listed >= {*owed, *(asset for _, asset in held)}, "an asset is missing")
    for one in found["assets"]:
        asset = one["asset"]
        sums = [
            sum(n for (w, a), n in held.items() if a == asset and (w in proven) is which)
            for which in (True, False)
        ]
        need([one["proven"], one["stated_only"]] == [str(x) for x in sums], f"{asset} does not add up")
        total = str(owed[asset]) if asset in owed else None
        need(one.get("owed") == total, f"{asset}: another amount is owed")
        said = f"{asset}: {sums[0]} proven, {sums[1]} stated only"
        if asset not in owed:
            yield f"{said}; what is owed is not told"
        else:
            enough = "covered" if sums[0] >= owed[asset] else "NOT COVERED by what is proven"
            yield f"{said}, {owed[asset]} owed: {enough}"


def check(found, trust):
    """Check everything, saying what holds; raises at the first thing that does not."""
    need(found["format"] == "quorumkeep/reserves/1", "this is no proof of reserves")
    size, root, cosigners = check_checkpoint(found["checkpoint"], trust)
    yield f"{size} entries of {trust['origin']}, cosigned by {', '.join(sorted(cosigners))}"
    entries = check_entries(found, trust, size, root)
    heads = check_heads(found, size, root)
    policy = entries[found["policy_at"]]["body"]["policy"]
    keys = {
        entry["body"]["key"]: entry["body"] for _, entry in sorted(entries.items()) if entry["kind"] == "key"
    }
    need({one["wallet"] for one in found["wallets"]} == set(policy["wallets"]), "a wallet is missing")
    proven = set()
    for shown in found["wallets"]:
        if check_wallet(shown, policy, keys, found, entries, heads, trust):
            proven.add(shown["wallet"])
        yield f"wallet {shown['wallet']}: {'every key signed' if shown['wallet'] in proven else 'NOT PROVEN'}"
    held = {(one["wallet"], one["asset"]): check_held(one, entries) for one in found["held"]}
    need(len(held) == len(found["held"]), "a wallet's asset is there twice")
    yield from check_assets(found, held, proven)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(*check(*(json.loads(Path(name).read_text()) for name in sys.argv[1:])), "ok", sep="\n")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"WRONG: {error!r}")

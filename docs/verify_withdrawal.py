"""Check what ``quorumkeep audit export`` wrote: python verify_withdrawal.py withdrawal.json trust.json

Needs the standard library and cryptography. trust.json is what you were told by another way: whose log it is.
Not checked, as that takes the whole log: that no other entry changes the picture, and the policy's verdict.
"""

import base64
import hmac
import json
import sys
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

P = 2**256 - 2**32 - 977  # the field of secp256k1
CURVE, PASSKEY, HASHED = ec.SECP256K1(), ec.ECDSA(hashes.SHA256()), ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def need(holds, why):
    if not holds:
        raise ValueError(why)


def canonical(value):  # RFC 8785, of what entries hold
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def tagged(tag, *fields):
    parts = (tag.encode(), *fields)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def verify(key, signature, message, who, *scheme):
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) if isinstance(key, str) else key
    try:
        key.verify(signature, message, *scheme)
    except InvalidSignature:
        raise ValueError(f"{who} does not verify") from None


def check_checkpoint(note, trust):
    """Size and root, signed by the log's key and w cosigners: C2SP tlog-checkpoint and tlog-cosignature."""
    text, lines = (note.partition("\n\n")[0] + "\n").encode(), note.partition("\n\n")[2].splitlines()
    cosigners, good = {one["name"]: one["key"] for one in trust["cosigners"]}, set()
    for name, data in ((line.split(" ")[1], base64.b64decode(line.split(" ")[2])[4:]) for line in lines):
        if name == trust["origin"]:
            verify(trust["log_key"], data, text, "the log's signature")
            good.add("")
        elif name in cosigners:
            head = b"cosignature/v1\ntime %d\n" % int.from_bytes(data[:8], "big")
            verify(cosigners[name], data[8:], head + text, f"the cosignature of {name}")
            good.add(name)
    need("" in good and len(good) > trust["w"], f"signed by {sorted(good)} only, {trust['w']} have to cosign")
    origin, size, root = text.decode().split("\n")[:3]
    need(origin == trust["origin"], f"the checkpoint is of {origin}, not of {trust['origin']}")
    return int(size), base64.b64decode(root), good - {""}


def root_of(digest, index, size, proof):
    """The root of a tree of so many leaves that has this one at that index: RFC 6962, section 2.1.1."""
    if size == 1:
        return digest
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        return sha256(b"\1" + root_of(digest, index, left, proof[:-1]) + proof[-1]).digest()
    return sha256(b"\1" + proof[-1] + root_of(digest, index - left, size - left, proof[:-1])).digest()


def check_approval(entry, people, request):
    """A passkey's signature over this request, what it moves and the policy: WebAuthn, section 7.2."""
    body, assertion = entry["body"], entry["assertion"]
    passkey, who = people[body["operator"]]["credential"], f"the approval of {body['operator']}"
    data, client = (bytes.fromhex(assertion[name]) for name in ("authenticator_data", "client_data"))
    said, challenge = json.loads(client), base64.urlsafe_b64encode(tagged("approval", canonical(body)))
    need(said["challenge"] == challenge.decode()[:-1], f"{who} is of another text")
    need(said["type"] == "webauthn.get" and said["origin"] in passkey["origins"], f"{who} is from elsewhere")
    party = sha256(passkey["rp_id"].encode()).digest()
    need(data[:32] == party and data[32] & 5 == 5, f"{who} is for another site, or its user was not verified")
    need(body["request"] == tagged("request", canonical(request)).hex(), f"{who} is of another request")
    same = (body["intent"][x] == request[x] for x in ("chain", "wallet", "asset", "amount", "destination"))
    need(all(same), f"{who} is of another payment")
    need(body["intent"].get("source") == request.get("source"), f"{who} is of another account")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(passkey["public_key"]))
    verify(key, bytes.fromhex(assertion["signature"]), data + sha256(client).digest(), who, PASSKEY)


def keccak(data):
    """Keccak-256, with Ethereum's padding."""
    lanes, full = [0] * 25, 2**64 - 1
    data = bytearray(data + b"\1" + bytes(-(len(data) + 1) % 136))
    data[-1] |= 0x80
    for start in range(0, len(data), 136):
        for i in range(17):
            lanes[i] ^= int.from_bytes(data[start + 8 * i : start + 8 * i + 8], "little")
        bits = 1
        for _ in range(24):
            c = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
            d = [c[x - 1] ^ (c[x - 4] << 1 & full | c[x - 4] >> 63) for x in range(5)]
            lanes = [lane ^ d[i % 5] for i, lane in enumerate(lanes)]
            at, lane = (1, 0), lanes[1]
            for t in range(24):
                at, n = (at[1], (2 * at[0] + 3 * at[1]) % 5), (t + 1) * (t + 2) // 2 % 64
                i = at[0] + 5 * at[1]
                lane, lanes[i] = lanes[i], (lane << n | lane >> 64 - n) & full
            rows = [lanes[5 * y : 5 * y + 5] * 2 for y in range(5)]
            lanes = [row[x] ^ ~row[x + 1] & row[x + 2] for row in rows for x in range(5)]
            for j in range(7):
                bits = (bits << 1 ^ (bits >> 7) * 0x71) % 256
                lanes[0] ^= (bits >> 1 & 1) << (1 << j) - 1
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def derive(key, path):
    """The key at a path under the group key: BIP 32, steps without the private key."""
    data, code = bytes.fromhex(key["group_key"]), bytes.fromhex(key["chain_code"])
    for step in path.split("/")[1:]:
        digest = hmac.digest(code, data + int(step).to_bytes(4, "big"), "sha512")
        tweak, code = ec.derive_private_key(int.from_bytes(digest[:32], "big"), CURVE), digest[32:]
        before = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, data)
        a, b = before.public_numbers(), tweak.public_key().public_numbers()
        slope = (b.y - a.y) * pow(b.x - a.x, -1, P) % P
        x = (slope**2 - a.x - b.x) % P
        data = bytes([2 + (slope * (a.x - x) - a.y) % P % 2]) + x.to_bytes(32, "big")
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, data)


def check_bytes(tx, request, policy):
    """The bytes pay what was asked for."""
    if not request["chain"].startswith("evm:") or "typed_data" in request:
        return "are not decoded here"
    at, items = 2 + max(0, tx[1] - 0xF7), []  # one RLP list
    while at < len(tx):
        wide = max(0, tx[at] % 64 - 55) if tx[at] >= 0x80 else 0
        start = at + (tx[at] >= 0x80) + wide
        size = int.from_bytes(tx[at + 1 : start], "big") if wide else tx[at] % 64 if tx[at] >= 0x80 else 1
        at = start + size
        items.append(tx[start:at])
    need(tx[0] == 2 and len(items) == 9, "the transaction is not of EIP-1559")
    chain, _, _, _, _, to, value, data, _ = items
    asset, wanted, amount = policy["assets"][request["asset"]], request["destination"], int(request["amount"])
    expected = (wanted, amount, bytes.fromhex(request.get("calldata", "")))
    if asset["kind"] == "erc20":
        expected = asset["contract"], 0, bytes.fromhex(f"a9059cbb{wanted[2:]:>064}{amount:064x}")
    does = f"evm:{int.from_bytes(chain, 'big')}", "0x" + to.hex(), int.from_bytes(value, "big"), data
    need(does == (request["chain"], *expected), "the bytes do something else than was asked for")
    return "pay what was asked for"


def check(found, trust):
    """Check everything in its order, saying what holds; raises at the first thing that does not."""
    size, root, cosigners = check_checkpoint(found["checkpoint"], trust)
    yield f"{size} entries of {trust['origin']}, cosigned by {', '.join(sorted(cosigners))}"
    parts, request, jobs, keys = {part["index"]: part for part in found["entries"]}, None, {}, {}
    for index, part in sorted(parts.items()):
        entry, body, kind = part["entry"], part["entry"]["body"], part["entry"]["kind"]
        leaf, proof = sha256(b"\0" + canonical(entry)).digest(), [bytes.fromhex(x) for x in part["proof"]]
        need(index < size and root_of(leaf, index, size, proof) == root, f"entry {index} is not in the log")
        need(index or leaf.hex() == trust["genesis"], "the log begins with another entry than you were told")
        roster, policy = (parts[part.get(f"{x}_at", 0)]["entry"]["body"][x] for x in ("roster", "policy"))
        said = kind
        if kind == "request":
            need(tagged("request", canonical(body)).hex() == found["request"], "this is another request")
            key = next(one["key"] for one in roster["initiators"] if one["name"] == body["initiator"])
            request, text = body, b"quorumkeep/v1 request\n" + canonical(body)
            verify(key, bytes.fromhex(entry["signature"]), text, "the request's signature")
            said = f"{body['initiator']} asks for {body['amount']} {body['asset']} to {body['destination']}"
        elif kind == "approval":
            check_approval(entry, {one["name"]: one for one in roster["operators"]}, request)
            said = f"{body['operator']} approves it, under policy {body['policy']}"
        elif kind == "key":
            keys[body["key"]] = body
        elif kind == "reserve":
            need(body["request"] == found["request"], "a reservation is of another request")
            jobs[tagged("job", trust["origin"].encode(), index.to_bytes(8, "big"), leaf).hex()] = body
            pays = body["purpose"] == "payment"
            done = check_bytes(bytes.fromhex(body["tx"]), request, policy) if pays else "cancel it"
            said = f"{' and '.join(body['signers'])} are to sign; the bytes {done}"
        elif kind == "signature":
            job, data = jobs[body["job"]], bytes.fromhex(body["signature"])
            tx, key, said = bytes.fromhex(job["tx"]), keys[job["key"]], "a signature, not checked here"
            if key["suite"] == "dkls23-secp256k1" and tx[0] == 2:
                pair = utils.encode_dss_signature(*(int.from_bytes(data[x : x + 32], "big") for x in (0, 32)))
                verify(derive(key, job["paths"][body["index"]]), pair, keccak(tx), "the signature", HASHED)
                said = "the signature is the key's"
        yield f"entry {index}: {said}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(*check(*(json.loads(Path(name).read_text()) for name in sys.argv[1:])), "ok", sep="\n")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        sys.exit(f"WRONG: {error!r}")

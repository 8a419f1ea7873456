"""The multiplication of ``vole`` one number at a time, to read beside the paper and to test against.

Same inputs, same bytes out. It branches on secrets and is slow: tests only, never imported by a node.
Rows are sequences of 416·B rows of 16 bytes, choices of 416·B bits.
"""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from policy.encoding import tagged_hash
from signer_nodes.mpc.curve import Q
from signer_nodes.mpc.ot.extension import Direction

XI = 416


def gadget(session: bytes) -> list[int]:
    """g_1..g_416."""
    prefix = tagged_hash("quorumkeep/mpc/vole/gadget/v1", session)
    return [_wide(prefix + number.to_bytes(2, "big")) for number in range(XI)]


def column(direction: Direction, seed: bytes, *, number: int) -> bytes:
    """One column of pseudorandom bytes: AES-256-CTR from counter block 2, under a key of its own."""
    prefix = tagged_hash("quorumkeep/mpc/ot-extension/column/v1", direction.session, direction.pair)
    key = hashlib.sha256(prefix + number.to_bytes(2, "big") + seed).digest()
    counter = modes.CTR((2).to_bytes(16, "big"))
    return Cipher(algorithms.AES256(key), counter).encryptor().update(bytes(direction.column_bytes))


def transpose(matrix: Sequence[bytes]) -> list[bytes]:
    """128 columns of n bytes as 8·n rows of 16 bytes."""
    rows = []
    for j in range(8 * len(matrix[0])):
        row = sum(((matrix[i][j // 8] >> (j % 8)) & 1) << i for i in range(len(matrix)))
        rows.append(row.to_bytes(16, "little"))
    return rows


def hash_row(key: bytes, row: bytes, *, number: int) -> tuple[int, int, int]:
    """The three scalars of row ``number``: TMMO under tweaks 6·number to 6·number + 5."""
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - a permutation of one block
    inner = int.from_bytes(cipher.update(row), "little")
    data = b""
    for tweak in range(6 * number, 6 * number + 6):
        outer = cipher.update((inner ^ tweak).to_bytes(16, "little"))
        data += (int.from_bytes(outer, "little") ^ inner).to_bytes(16, "little")
    first, second, third = (int.from_bytes(data[at : at + 32], "little") % Q for at in (0, 32, 64))
    return first, second, third


def send(
    direction: Direction,
    transcript: bytes,
    *,
    pads: Sequence[Sequence[Sequence[Sequence[int]]]],
    inputs: Sequence[tuple[int, int, int]],
) -> tuple[bytes, list[tuple[int, int]]]:
    """Message and outputs; ``pads[c][b][j][k]`` is αc of instance b, ``inputs[b]`` is (a_1, a_2, â)."""
    zero, one = pads
    differences = [
        [[(zero[b][j][k] - one[b][j][k] + a[k]) % Q for j in range(XI)] for k in range(3)]
        for b, a in enumerate(inputs)
    ]
    encoded = [b"".join(_bytes(x) for column in instance for x in column) for instance in differences]
    digest = _digest(direction, transcript, b"".join(encoded))
    etas, hashes, outputs = b"", b"", []
    g = gadget(direction.session)
    for b, a in enumerate(inputs):
        theta = _theta(digest, b)
        eta = (a[2] + theta[0] * a[0] + theta[1] * a[1]) % Q
        mu = [(z[2] + theta[0] * z[0] + theta[1] * z[1]) % Q for z in zero[b]]
        etas += _bytes(eta)
        hashes += _mu_hash(digest, b, mu)
        c = [-sum(g[j] * zero[b][j][k] for j in range(XI)) % Q for k in (0, 1)]
        outputs.append((c[0], c[1]))
    return b"".join(encoded) + etas + hashes, outputs


def receive(
    direction: Direction,
    transcript: bytes,
    *,
    pads: Sequence[Sequence[Sequence[int]]],
    choices: Sequence[Sequence[int]],
    message: bytes,
) -> list[tuple[int, int]] | None:
    """Outputs, or None where a μ differs; ``pads[b][j][k]`` is the chosen α."""
    size, batch = 3 * XI * 32, len(pads)
    differences, etas, hashes = (
        message[: size * batch],
        message[size * batch : (size + 32) * batch],
        message[(size + 32) * batch :],
    )
    digest = _digest(direction, transcript, differences)
    g = gadget(direction.session)
    outputs = []
    for b in range(batch):
        numbers = _numbers(differences[b * size : (b + 1) * size])
        eta, theta = _numbers(etas)[b], _theta(digest, b)
        d = [[(pads[b][j][k] + choices[b][j] * numbers[k * XI + j]) % Q for k in range(3)] for j in range(XI)]
        mu = [(x[2] + theta[0] * x[0] + theta[1] * x[1] - choices[b][j] * eta) % Q for j, x in enumerate(d)]
        if _mu_hash(digest, b, mu) != hashes[32 * b : 32 * b + 32]:
            return None
        sums = [sum(g[j] * d[j][k] for j in range(XI)) % Q for k in (0, 1)]
        outputs.append((sums[0], sums[1]))
    return outputs


def _wide(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "big") % Q


def _numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 32], "big") for at in range(0, len(data), 32)]


def _bytes(x: int) -> bytes:
    return x.to_bytes(32, "big")


def _digest(direction: Direction, transcript: bytes, differences: bytes) -> bytes:
    tag = "quorumkeep/mpc/vole/differences/v1"
    digest = hashlib.sha256(differences).digest()
    return tagged_hash(tag, direction.session, direction.pair, transcript, digest)


def _theta(digest: bytes, b: int) -> tuple[int, int]:
    prefix = tagged_hash("quorumkeep/mpc/vole/theta/v1", digest, b.to_bytes(2, "big"))
    return _wide(prefix + b"\1"), _wide(prefix + b"\2")


def _mu_hash(digest: bytes, b: int, mu: Sequence[int]) -> bytes:
    encoded = b"".join(_bytes(x) for x in mu)
    return tagged_hash("quorumkeep/mpc/vole/mu/v1", digest, b.to_bytes(2, "big"), encoded)

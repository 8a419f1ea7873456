"""Pads of OT extension as numbers: for the reference, and for whoever compares or attacks."""

import numpy as np

from signer_nodes.mpc.ot.extension import SenderRows
from signer_nodes.mpc.ot.rows import LANES, RowMemory, Words


def numbers(pads: Words) -> list[list[int]]:
    """The three numbers below 2**256 of every transfer."""
    halves = np.ascontiguousarray(pads.transpose(1, 0, 2)).view(np.uint8).reshape(-1, 3, 32)
    return [[int.from_bytes(number.tobytes(), "little") for number in row] for row in halves]


def instances(pads: Words) -> list[list[list[int]]]:
    """The same, cut into instances of 416 transfers."""
    rows = numbers(pads)
    return [rows[at : at + LANES] for at in range(0, len(rows), LANES)]


def sender_pads(rows: SenderRows) -> tuple[list[list[list[int]]], list[list[list[int]]]]:
    """All pads of a sender for choice 0 and for choice 1, by instance."""
    ((zero, one),) = rows.pads(RowMemory(len(rows.rows)))
    return instances(zero), instances(one)

"""A decoder with one flaw: it reads as ours does, but for what it is given in place of the bytes."""

from collections.abc import Callable
from dataclasses import dataclass

from policy.decode.decoded import Cancel, Decoder, Source, Transfer, Undecodable


@dataclass(frozen=True, slots=True)
class Flawed:
    """A decoder; ``before`` changes bytes, ``after`` what was read, given the bytes as they came."""

    honest: Decoder
    before: Callable[[bytes], bytes] = lambda tx: tx
    after: Callable[[bytes, Transfer], Transfer] = lambda tx, found: found

    def decode(self, tx: bytes, source: Source) -> Transfer | Undecodable:
        found = self.honest.decode(self.before(tx), source)
        return self.after(tx, found) if isinstance(found, Transfer) else found

    def decode_cancel(self, tx: bytes, source: Source) -> Cancel | Undecodable:
        return self.honest.decode_cancel(self.before(tx), source)

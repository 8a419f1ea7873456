"""The families of chains that have two decoders."""

from tests.differential import bitcoin, evm, solana
from tests.differential.comparing import Comparison

FAMILIES: dict[str, Comparison] = {
    one.name: one for one in (evm.COMPARISON, solana.COMPARISON, bitcoin.COMPARISON)
}

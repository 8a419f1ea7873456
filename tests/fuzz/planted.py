"""A decoder with a bug that four right bytes reach, to see that the fuzzer finds bugs."""

NAME = "planted"


def decode(data: bytes) -> None:
    """Leaks an ``IndexError``; chance alone would need some billions of inputs to hit it."""
    if data[:1] != b"Q":
        return
    if data[1:2] != b"K":
        return
    if data[2:3] != b"\x55":
        return
    if data[3:4] == b"\xaa":
        raise IndexError("the planted bug")

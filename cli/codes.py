"""``cold show`` and ``cold scan``: a file as an animated code on a screen, and back from a camera."""

import io
import shutil
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from cli.files import read_bytes
from cli.results import Misuse, Result, progress
from policy.errors import MalformedError, OperationalError
from signer_nodes.api.bbqr import CHARACTERS, Reader, split
from signer_nodes.api.letters import LETTER_BYTES_MAX

FRAME_S: Final = 0.25
BORDER: Final = 4
SCALE: Final = 6
IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})
CLEAR: Final = "\x1b[H\x1b[2J"


def show(arguments: Namespace) -> Result:
    """``cold show``: the codes of a file, on this terminal until it is interrupted, or as images."""
    data = read_bytes(Path(arguments.file), "the file")
    texts = split(data, version=arguments.version)
    if not arguments.images:
        _check_width(_code(texts[0], arguments.version))  # before minutes of work on the others
    codes = [_code(text, arguments.version) for text in texts]
    document = {"file": arguments.file, "bytes": len(data), "codes": len(codes), "images": []}
    if not arguments.images:
        _play(codes)
        return Result(document, (f"{len(codes)} codes",))
    folder = Path(arguments.images)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    images = [str(folder / f"{at:04}.png") for at in range(len(codes))]
    for path, code in zip(images, codes, strict=True):
        code.save(path, scale=SCALE, border=BORDER)
    return Result({**document, "images": images}, (f"{len(codes)} codes in {folder}",))


def scan(arguments: Namespace) -> Result:
    """``cold scan``: the file of a series of codes, from the images that a camera leaves in a folder."""
    folder, reader = Path(arguments.images), Reader()
    if not folder.is_dir():
        raise Misuse(f"there is no folder {folder}: name the one where the camera leaves its images")
    progress(f"reading images in {folder} as they come, for {arguments.timeout:g} s at most")
    seen: set[Path] = set()
    deadline = time.monotonic() + arguments.timeout
    while reader.whole is None:
        fresh = [one for one in sorted(folder.iterdir()) if one.suffix.lower() in IMAGES and one not in seen]
        for path in fresh:
            seen.add(path)
            for text in _texts(path):
                _see(reader, text)
        if reader.whole is None and time.monotonic() > deadline:
            raise OperationalError(
                f"{len(reader.parts)} codes were read in {len(seen)} images, {_missing(reader)}: take more"
            )
        if not fresh:
            time.sleep(FRAME_S)
    whole = reader.whole or b""
    if len(whole) > LETTER_BYTES_MAX:
        raise OperationalError(f"{len(whole)} bytes are no letter: scan the code of one")
    Path(arguments.out).write_bytes(whole)
    return Result(
        {"out": arguments.out, "bytes": len(whole), "codes": len(reader.parts), "images": len(seen)},
        (f"{arguments.out}: {len(whole)} bytes from {len(reader.parts)} codes",),
    )


def _see(reader: Reader, text: str) -> None:
    """Other codes may be in the picture; they are told of and left alone."""
    try:
        reader.see(text)
    except MalformedError as error:
        progress(f"a code is not read: {error}")


def _missing(reader: Reader) -> str:
    return f"parts {', '.join(map(str, reader.missing[:20]))} are missing" if reader.header else "none fits"


def _code(text: str, version: int) -> Any:
    import segno

    return segno.make(text, version=version, error="l", boost_error=False, mode="alphanumeric", micro=False)


def _texts(path: Path) -> list[str]:
    """What codes an image shows; none where it is not whole yet."""
    try:
        import zxingcpp
        from PIL import Image
    except ImportError as error:
        raise Misuse("reading codes needs the 'camera' extra: pip install quorumkeep[camera]") from error
    try:
        with Image.open(path) as image:
            found = zxingcpp.read_barcodes(
                image.convert("L"), formats=zxingcpp.barcode_formats_from_str("QRCode")
            )
    except (OSError, SyntaxError):
        return []
    return [one.text for one in found]


def _play(codes: list[Any]) -> None:
    """One code after the other in the terminal, for ever."""
    texts = [_terminal(code) for code in codes]
    at = 0
    while True:
        sys.stderr.write(f"{CLEAR}{texts[at]}\ncode {at + 1} of {len(texts)}; Ctrl-C ends\n")
        sys.stderr.flush()
        at = (at + 1) % len(texts)
        time.sleep(FRAME_S)


def _check_width(code: Any) -> None:
    columns = max(len(line) for line in _terminal(code).splitlines())
    if columns > shutil.get_terminal_size().columns:
        smaller = ", ".join(str(version) for version in CHARACTERS)
        raise Misuse(f"the terminal needs {columns} columns: widen it, or take a --version of {smaller}")


def _terminal(code: Any) -> str:
    out = io.StringIO()
    code.terminal(out, border=2, compact=True)
    return out.getvalue()

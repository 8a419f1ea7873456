"""A letter goes from a screen to a camera: codes are rendered, blurred, turned, and read by a library."""

import json
import secrets
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from cli.main import invoke, main

LETTER = secrets.token_bytes(3000)


def shown(folder: Path, *, version: int = 27) -> Path:
    (folder / "a.letter").write_bytes(LETTER)
    invoke(
        *("cold", "show", str(folder / "a.letter")),
        *("--images", str(folder / "shown"), "--version", str(version)),
    )
    return folder / "shown"


def scanned(folder: Path, images: Path) -> bytes:
    invoke("cold", "scan", str(images), "--out", str(folder / "b.letter"), "--timeout", "1")
    return (folder / "b.letter").read_bytes()


@pytest.mark.parametrize("version", [11, 23, 27, 40])
def test_what_a_screen_shows_a_camera_reads(tmp_path: Path, version: int) -> None:
    assert scanned(tmp_path, shown(tmp_path, version=version)) == LETTER


def test_a_camera_sees_it_turned_blurred_and_in_a_room(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    for at, path in enumerate(sorted(shown(tmp_path, version=11).iterdir())):
        with Image.open(path) as code:
            room = Image.new("L", (code.width + 200, code.height + 150), 128)
            room.paste(code.convert("L"), (90, 60))
        turned = room.rotate(4 * at % 20 - 8, expand=True, fillcolor=90)
        turned.filter(ImageFilter.GaussianBlur(1.0)).save(seen / f"{at:03}.jpg", quality=70)

    assert scanned(tmp_path, seen) == LETTER


def test_a_series_that_lacks_a_code_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = shown(tmp_path)
    sorted(images.iterdir())[1].unlink()

    code = main(
        ["cold", "scan", str(images), "--out", str(tmp_path / "b.letter"), "--timeout", "0", "--json"]
    )

    assert code == 1
    assert "parts 1 are missing" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "b.letter").exists()


def test_an_image_that_is_not_whole_yet_is_passed_over(tmp_path: Path) -> None:
    images = shown(tmp_path)
    (images / "0000a.png").write_bytes(b"\x89PNG half an image")

    assert scanned(tmp_path, images) == LETTER


@pytest.mark.parametrize("command", [("show",), ("scan", "--out", "letter")])
def test_a_file_or_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    missing = str(tmp_path / "missing")

    assert main(["cold", command[0], missing, *command[1:], "--json"]) in (1, 2)
    assert missing in json.loads(capsys.readouterr().out)["error"]

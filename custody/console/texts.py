"""What the pages say, in each language one catalogue."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("en", "zh")
_FOLDER = Path(__file__).parent / "texts"


@functools.cache
def catalogue(language: str) -> Mapping[str, str]:
    """Every text of a language by its name."""
    found: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


def text(language: str, name: str, /, **values: object) -> str:
    """One text with its values filled in."""
    return catalogue(language)[name].format(**values)


def preferred(accepted: str) -> str:
    """The language that a browser asks for, by its ``Accept-Language``; English if it is none of ours."""
    for part in accepted[:200].split(","):
        language = part.partition(";")[0].strip().lower()[:2]
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


@functools.cache
def script_texts(language: str) -> str:
    """The texts that scripts need, as JSON for an attribute."""
    found = {name: said for name, said in catalogue(language).items() if name.startswith("js.")}
    return json.dumps(found, ensure_ascii=False)

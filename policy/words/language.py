"""The languages that a policy is read in. Each has every text, with the same values: nothing falls back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policy.words import chinese, english


@dataclass(frozen=True, slots=True)
class Language:
    """A language by its short name, such as ``en``."""

    name: str
    texts: Mapping[str, str] = field(repr=False)

    def say(self, key: str, /, **values: object) -> str:
        """One text with its values filled in; what is in a value is never read as a text."""
        return self.texts[key].format(**values)

    def alternatives(self, names: Iterable[str]) -> str:
        """``a``, ``a or b``, ``a, b or c``."""
        *most, last = names
        return f"{self.texts['enumeration'].join(most)}{self.texts['or']}{last}" if most else last

    def counted(self, key: str, count: int) -> str:
        """So many of something, in the singular or the plural."""
        return self.say(f"{key}.one" if count == 1 else f"{key}.many", count=count)


ENGLISH = Language("en", english.TEXTS)
CHINESE = Language("zh", chinese.TEXTS)
LANGUAGES: Mapping[str, Language] = {one.name: one for one in (ENGLISH, CHINESE)}

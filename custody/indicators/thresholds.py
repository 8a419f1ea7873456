"""The file of thresholds and weights: TOML, one line an indicator, what is not there by default.

```toml
presignatures = {warn = 100, critical = 20, weight = 3}
drill_age_d = {warn = 100, critical = 200, weight = 0}   # weight 0: shown, and out of the score
```
"""

import tomllib
from pathlib import Path

from custody.indicators.scoring import DEFAULTS, Threshold, parse_thresholds
from policy.errors import MalformedError, OperationalError


def load_thresholds(path: Path | None) -> dict[str, Threshold]:
    """The thresholds in a file; the defaults without one. Raises ``OperationalError``."""
    if path is None:
        return dict(DEFAULTS)
    try:
        return parse_thresholds(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, MalformedError) as error:
        raise OperationalError(f"{path}: {error}; correct the file") from error

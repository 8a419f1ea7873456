"""The file of thresholds and weights: TOML, one line an indicator, what is not there by default.

```toml
presignatures = {warn = 100, critical = 20, weight = 3}
drill_age_d = {warn = 100, critical = 200, weight = 0}   # weight 0: shown, and out of the score
```
"""

from pathlib import Path

from custody.indicators.scoring import DEFAULTS, Threshold, parse_thresholds
from policy.errors import MalformedError, OperationalError
from policy.settings import parse_settings
from signer_nodes.api.surroundings import read_text


def load_thresholds(path: Path | None) -> dict[str, Threshold]:
    """The thresholds in a file; the defaults without one. Raises ``OperationalError``."""
    if path is None:
        return dict(DEFAULTS)
    try:
        return parse_thresholds(parse_settings(read_text(path), str(path)).values)
    except MalformedError as error:
        raise OperationalError(f"{path}: {error}; correct the file") from error

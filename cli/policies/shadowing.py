"""``policy shadow``: what the coordinator's shadow policy would have said of late."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, cast

from cli.connection import caller, load_connection
from cli.policies.receipts import units
from cli.results import Result, Table, time_text
from policy.encoding import Json
from policy.model import Policy


def shadow(arguments: Namespace) -> Result:
    """``policy shadow``: the newest verdicts of the policy beside the real one."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        return shown(client.shadow(flips=arguments.flips, limit=arguments.limit), connection.policy)


def shown(answer: Mapping[str, Json], policy: Policy) -> Result:
    """The coordinator's answer; amounts in the units of the policy that the client knows."""
    document = cast("dict[str, Any]", answer)
    if not document["policy"]:
        return Result(document, ("The coordinator has no shadow policy: its configuration names none.",))
    rows = tuple(
        (
            str(one["index"]),
            time_text(one["time_ms"]),
            one["kind"],
            units(policy, one["amount"], unit=one["asset"]),
            f"{one['real']['outcome']} by {one['real']['rule']}",
            f"{one['other']['outcome']} by {one['other']['rule']}",
            one["way"],
        )
        for one in document["verdicts"]
    )
    table = Table(("entry", "when", "kind", "moves", "is", "would be", ""), rows)
    name = f"{document['name']} ({document['policy'][:16]})"
    lines = [f"shadow policy {name}, without a verdict on {document['errors']} entries since the start"]
    return Result(document, (*lines, table) if rows else (*lines, "no verdicts of it yet"))

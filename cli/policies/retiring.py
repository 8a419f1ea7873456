"""``policy retire-key``: a policy by which a new key takes an old one's place, and the old one is emptied.

Wallets keep their names, so backends ask as before, and the new key pays. Each account of the old key becomes
a wallet of its own, of the same tier: so every one can be emptied, and what is still paid to it is seen. A
forbid lets them do nothing but that: a sweep is a payment to an own account of the same tier.
"""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

from cli.files import write_document
from cli.policies.reading import read_policy
from cli.results import Document, Misuse, Result
from policy.document import normalise_document, parse_policy
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.fields import NAME

RULE = "empty"
OTHER_KINDS = ("transfer", "tier_move", "call", "typed_data")
_APPROVAL = re.compile(r"([1-9][0-9]{0,2}) of ([a-z0-9][a-z0-9._-]{0,62})")


def retire_key(arguments: Namespace) -> Result:
    """Write the policy; say which forbids stand before its new rule."""
    read = read_policy(Path(arguments.file))
    approvals = [_approval(text) for text in arguments.approval]
    document = retired(cast("Document", read.body), arguments.key, to=arguments.to, approvals=approvals)
    try:
        body = normalise_document(cast("Json", document))
        policy = parse_policy(body)
    except MalformedError as error:
        raise OperationalError(
            f"{arguments.file}: {error}; choose other names, or correct the policy"
        ) from error
    write_document(Path(arguments.out), cast("dict[str, Json]", body))
    old = sorted(name for name, wallet in policy.wallets.items() if wallet.key == arguments.key)
    before = [
        forbid.name for forbid in policy.forbids if "sweep" in (forbid.when.names("kinds") or ("sweep",))
    ]
    lines = [
        f"{arguments.out}: wallets of {arguments.key} are on {arguments.to} now; to empty: {', '.join(old)}",
        *(f"forbid {name} may stand before rule {RULE}-{arguments.key}: give it kinds" for name in before),
        "Next: quorumkeep admin draft policy; once in effect, key create and request sweep.",
    ]
    return Result({"file": arguments.out, "to_empty": old, "forbids_before": before}, tuple(lines))


def retired(document: Document, key: str, *, to: str, approvals: list[Json]) -> Document:
    """The policy ``document`` with wallets of ``key`` moved to ``to``. Raises ``Misuse``."""
    keys, wallets = dict(document["keys"]), dict(document["wallets"])
    if key not in keys or to in keys or not NAME.fullmatch(to):
        raise Misuse(
            f"the policy has the keys {', '.join(sorted(keys))}: name one of them, and --to a new one"
        )
    if not approvals:
        raise Misuse("say who approves that accounts are emptied: --approval '2 of treasury'")
    keys[to] = {name: value for name, value in keys[key].items() if name != "imported"}
    emptied: dict[str, Any] = {}
    for name, wallet in sorted(document["wallets"].items()):
        if wallet["key"] != key:
            continue
        wallets[name] = {**wallet, "key": to}
        emptied |= {
            f"{name}-{key}-{at}": {**wallet, "paths": [path]} for at, path in enumerate(wallet["paths"])
        }
    if not emptied or set(emptied) & set(wallets):
        raise Misuse(f"no wallet is of key {key}, or one has the name {min(emptied, default='')!r} already")
    rule = {
        "name": f"{RULE}-{key}",
        "when": {"kinds": ["sweep"], "wallets": sorted(emptied)},
        "then": {"outcome": "approve", "approvals": approvals},
    }
    forbid = {"name": f"only-{RULE}-{key}", "when": {"kinds": list(OTHER_KINDS), "wallets": sorted(emptied)}}
    changed = {
        "name": f"{document['name']}-without-{key}",
        "keys": keys,
        "wallets": {**wallets, **emptied},
        "forbids": [forbid, *document["forbids"]],
        "rules": [rule, *document["rules"]],
    }
    return {**document, **changed}


def _approval(text: str) -> Json:
    match = _APPROVAL.fullmatch(text)
    if match is None:
        raise Misuse(f"--approval {text[:60]!r} is none: write it as '2 of treasury'")
    return {"group": match[2], "count": int(match[1])}

"""Check what ``quorumkeep evidence ccss --out`` wrote: python verify_evidence.py evidence.json trust.json

Needs verify_withdrawal.py beside it. trust.json is what you were told by another way: whose log it is.
Checked: that every entry that is cited is in the log that w cosigners vouch for, of the kind and the days
that the control is about, and says what one entry can say. Not checked, as that takes the whole log: that
no other entry speaks against it. Whoever has the log lets ``quorumkeep evidence ccss`` make this file again.
"""

import json
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from verify_withdrawal import canonical, check_checkpoint, need, root_of

STATUSES = ("shown", "not-shown", "people", "not-by-software")
KINDS = {  # what may be cited, and whether it has to be of the period
    "1.01.1": ({"key"}, False),
    "1.02.2": ({"signature"}, True),
    "1.02.3": ({"key"}, False),
    "1.02.4": ({"key"}, False),
    "1.04.1": ({"approval"}, False),
    "1.04.6": ({"reserve"}, False),
    "1.06.2": ({"roster"}, True),
    "1.06.3": ({"genesis", "roster"}, False),
    "2.04.1": (None, False),
}


def day(time_ms):
    return datetime.fromtimestamp(time_ms // 1000, UTC).date().isoformat()


def check_entries(found, trust, size, root):
    """Every entry is in the log, the first is the one that was told; the entries by index."""
    entries = {}
    for part in found["entries"]:
        index, leaf = part["index"], sha256(b"\0" + canonical(part["entry"])).digest()
        proof = [bytes.fromhex(one) for one in part["proof"]]
        need(
            0 <= index < size and root_of(leaf, index, size, proof) == root,
            f"entry {index} is not in the log",
        )
        need(index or leaf.hex() == trust["genesis"], "the log begins with another entry than you were told")
        entries[index] = part["entry"]
    need(0 in entries, "the genesis entry is missing")
    return entries


def check_control(one, entries, found):
    """What a control that is shown cites is there and is about it."""
    number, cited = one["control"], one["entries"]
    need(one["status"] in STATUSES, f"control {number} has the status {one['status']}")
    if one["status"] != "shown":
        need(not cited, f"control {number} is not shown, and cites entries")
        return
    need(cited and number in KINDS, f"control {number} is called shown by nothing")
    kinds, within = KINDS[number]
    for index in cited:
        need(index in entries, f"control {number} cites entry {index}, which is not in the file")
        entry = entries[index]
        need(
            kinds is None or entry["kind"] in kinds,
            f"control {number} cites entry {index}, a {entry['kind']}",
        )
        need(not within or found["from"] <= day(entry["time_ms"]), f"entry {index} is of before the period")
        need(
            number == "2.04.1" or day(entry["time_ms"]) <= found["to"],
            f"entry {index} is of after the period",
        )
        body = entry["body"]
        need(number != "1.01.1" or body["change"] != "import", f"the key of entry {index} was imported")
        spare = number != "1.02.3" or len(body["participants"]) > body["min_signers"]
        need(spare, f"the key of entry {index} needs all of its nodes")


def check(found, trust):
    """Check everything, saying what holds; raises at the first thing that does not."""
    need(found["format"] == "quorumkeep/evidence/1", f"this is no evidence but {found['format']}")
    size, root, cosigners = check_checkpoint(found["checkpoint"], trust)
    yield f"{size} entries of {trust['origin']}, cosigned by {', '.join(sorted(cosigners))}"
    entries = check_entries(found, trust, size, root)
    yield f"{len(entries)} entries are in that log; the days are {found['from']} to {found['to']}"
    for one in found["controls"]:
        check_control(one, entries, found)
        yield f"{one['control']} {one['status']:<15} {one['what']}" + (
            f": {one['why']}" if one["why"] else ""
        )
    counts = {status: sum(one["status"] == status for one in found["controls"]) for status in STATUSES}
    need(counts == found["counts"], f"the file counts {found['counts']}, its controls are {counts}")
    yield "what is shown rests on these entries; that no other speaks against it takes the whole log"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(*check(*(json.loads(Path(name).read_text()) for name in sys.argv[1:])), "ok", sep="\n")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"WRONG: {error!r}")

"""Typed data as backends have it (the JSON of ``eth_signTypedData_v4``), and typed data in words."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.files import read_document
from cli.results import Misuse
from policy.bip32 import parse_address
from policy.decode.abi_values import split_array
from policy.decode.eip712 import (
    DOCUMENT_BYTES_MAX,
    DOMAIN_MEMBERS,
    DOMAIN_TYPE,
    domain_of,
    parse_typed_data,
)
from policy.encoding import canonical, parse_canonical
from policy.errors import CallerError, MalformedError
from policy.facts import declared
from policy.ids import AMOUNT_MAX, evm_chain
from policy.intent import Intent
from policy.model import Policy
from policy.words.units import readable_address

FIELDS = {"types", "primaryType", "domain", "message"}
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,64}")
UNLIMITED = "2**256 - 1, the most there is"


def read_typed_data(path: Path) -> tuple[str, str, bytes]:
    """Chain, contract and canonical document of a file of typed data. Raises ``Misuse``."""
    document = read_document(path, "the typed data")
    try:
        data = canonical_document(document)
        chain_id, contract = domain_of(parse_typed_data(data))
        return evm_chain(chain_id), contract, data
    except (MalformedError, CallerError) as error:
        raise Misuse(f"{path}: {error}") from error


def canonical_document(document: Mapping[str, Any]) -> bytes:
    """A document in the one form that nodes read. Raises ``MalformedError`` or ``CallerError``.

    Numbers become decimal texts, addresses and bytes lower case, and the domain's type is added where it is
    left out; nothing else is changed, and nothing is dropped.
    """
    if set(document) != FIELDS or not all(
        isinstance(document[name], dict) for name in FIELDS - {"primaryType"}
    ):
        raise MalformedError(f"typed data has the fields {', '.join(sorted(FIELDS))} and no others")
    members = [{"name": n, "type": kind} for n, kind in DOMAIN_MEMBERS.items() if n in document["domain"]]
    types = {DOMAIN_TYPE: members, **document["types"]}
    kinds = {name: _kinds(listed) for name, listed in types.items()}
    return canonical(
        {
            "types": types,
            "primaryType": document["primaryType"],
            "domain": _canonical_value(kinds, DOMAIN_TYPE, document["domain"]),
            "message": _canonical_value(kinds, str(document["primaryType"]), document["message"]),
        }
    )


def typed_data_text(policy: Policy, intent: Intent) -> str:
    """All that is signed, in one sentence: the domain, the primary type, every field, and the digest."""
    data = intent.typed_data or b""
    typed = parse_typed_data(data)
    document: Any = parse_canonical(data, bytes_max=DOCUMENT_BYTES_MAX)
    kinds = {name: _kinds(listed) for name, listed in document["types"].items()}
    name, _ = declared(policy, intent)
    known = f"typed data {name}" if name else "typed data THAT THE POLICY DOES NOT DECLARE"
    domain = _text(kinds, DOMAIN_TYPE, document["domain"])
    message = _text(kinds, typed.primary_type, document["message"])
    return f"{known}: {typed.primary_type} {message} for the domain {domain}, digest 0x{typed.digest.hex()}"


def _kinds(listed: Any) -> dict[str, str]:
    """The type of each member of a struct, as far as it is a list of members."""
    items = listed if isinstance(listed, list) else []
    return {str(one["name"]): str(one["type"]) for one in items if isinstance(one, dict) and len(one) == 2}


def _canonical_value(kinds: Mapping[str, Mapping[str, str]], kind: str, value: Any) -> Any:
    """A value in canonical form if it is of its type; else as it is, for the reader to refuse."""
    if kind in kinds and isinstance(value, dict):
        return {n: _canonical_value(kinds, kinds[kind].get(n, ""), one) for n, one in value.items()}
    array = split_array(kind)
    if array is not None and isinstance(value, list):
        return [_canonical_value(kinds, array[0], one) for one in value]
    if kind.startswith(("uint", "int")) and not isinstance(value, bool):
        return _number(value)
    if kind == "address" and isinstance(value, str):
        return parse_address(value)
    return value.lower() if kind.startswith("bytes") and isinstance(value, str) else value


def _number(value: Any) -> Any:
    if isinstance(value, int):
        return str(value)
    return str(int(value, 16)) if isinstance(value, str) and _HEX.fullmatch(value) else value


def _text(kinds: Mapping[str, Mapping[str, str]], kind: str, value: Any) -> str:
    """A value of a document that was read, so that no text in it can look like anything else."""
    if kind in kinds:
        fields = (f"{name} = {_text(kinds, inner, value[name])}" for name, inner in kinds[kind].items())
        return f"{{{', '.join(fields)}}}"
    array = split_array(kind)
    if array is not None:
        return f"[{', '.join(_text(kinds, array[0], one) for one in value)}]"
    if kind == "address":
        return readable_address(value)
    if kind == "uint256" and int(value) == AMOUNT_MAX:
        return f"{value} ({UNLIMITED})"
    return json.dumps(value) if kind in ("string", "bool") else str(value)

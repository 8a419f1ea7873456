"""The published schemas are those of the code, take what the parser takes, and refuse much else."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cli.main import invoke
from cli.policies.authoring import convert
from cli.policies.schema import policy_schema
from cli.policies.yaml_reader import read_yaml
from policy.document import normalise_document, parse_policy
from policy.errors import CallerError, MalformedError
from tests.unit.policy_documents import (
    ADDRESSES,
    PHASES,
    Document,
    as_yaml,
    documents,
    full_document,
    mutants,
    places_of,
    written,
)

ROOT = Path(__file__).resolve().parents[2]
SPEC, EXAMPLES = ROOT / "docs" / "spec", ROOT / "docs" / "examples"
FILES = {False: SPEC / "policy.schema.json", True: SPEC / "policy-canonical.schema.json"}
VALIDATORS = {form: Draft202012Validator(policy_schema(canonical=form)) for form in FILES}
quick = settings(max_examples=25, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])

FULL = full_document()
OPTIONAL = {
    "deposit_min",
    "contracts",
    "typed_data",
    "min",
    "max",
    "when",
    "prices",
    "imported",
    "tiers",
    "holdings",
    "value",
    "amounts",
    "minimum",
    "target_min",
    "target_max",
    "maximum",
    "share_min",
    "share_max",
    "share_min_bp",
    "share_max_bp",
    "exposure",
    "assets",
    "delay_ms",
    "delay",
}


def taken(document: Document) -> bool:
    """Whether the parser takes a document in canonical form, as a file has it."""
    try:
        parse_policy(normalise_document(document))
    except (MalformedError, CallerError):
        return False
    return True


def taken_in_yaml(document: Document) -> bool:
    try:
        converted = convert(read_yaml(as_yaml(document)))
    except MalformedError:
        return False
    body: Any = converted.body
    return not converted.faults and taken(body)


@pytest.mark.parametrize("canonical", [False, True])
def test_the_published_file_is_what_the_command_prints(canonical: bool) -> None:
    printed = invoke("policy", "schema", *(["--canonical"] if canonical else []))

    assert FILES[canonical].read_text() == f"{printed.text[0]}\n"
    assert json.loads(str(printed.text[0])) == printed.document
    Draft202012Validator.check_schema(printed.document)


@quick
@given(document=documents())
def test_what_the_parser_takes_validates_in_both_forms(document: Document) -> None:
    assert taken(document)
    VALIDATORS[True].validate(document)
    VALIDATORS[False].validate(written(document))


@settings(parent=quick, max_examples=200)
@given(document=mutants(st.just(FULL)))
def test_what_the_schema_refuses_the_parser_refuses(document: Document) -> None:
    assert VALIDATORS[True].is_valid(document) or not taken(document)


@settings(parent=quick, max_examples=100)
@given(document=mutants(st.just(written(FULL))))
def test_what_the_schema_of_yaml_refuses_its_reader_refuses(document: Document) -> None:
    assert VALIDATORS[False].is_valid(document) or not taken_in_yaml(document)


@pytest.mark.parametrize(
    "example",
    sorted(path for path in EXAMPLES.glob("*.yaml") if "." not in path.stem),
    ids=lambda path: path.stem,
)
def test_the_examples_validate(example: Path) -> None:
    import yaml

    VALIDATORS[False].validate(yaml.safe_load(example.read_text()))
    VALIDATORS[True].validate(convert(read_yaml(example.read_text())).body)


def test_addresses_of_every_family_validate() -> None:
    solana = {"address": "11111111111111111111111111111111", "label": "x"}
    document = FULL | {"lists": {"customers": [*ADDRESSES, solana], "exchanges": []}}

    assert taken(document)
    VALIDATORS[True].validate(document)


def changed(document: Document, path: tuple[Any, ...], change: str) -> Document:
    """The document with the value at a path gone, of no type that fits, or beside an unknown field."""
    document = copy.deepcopy(document)
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    if change == "gone":
        del inner[path[-1]]
    elif change == "wrong":
        inner[path[-1]] = [[1.5]]
    else:
        inner[path[-1]]["unknown"] = 1
    return document


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def closed(path: tuple[Any, ...], value: Any) -> bool:
    """Whether it is an object of fixed fields, not one by names that the policy chooses."""
    return (
        isinstance(value, dict)
        and len(path) > 0
        and path
        not in {(t,) for t in ("chains", "assets", "keys", "wallets", "lists", "contracts", "typed_data")}
    )


@pytest.mark.parametrize("canonical", [False, True])
def test_the_schema_sees_every_missing_wrong_and_unknown_field(canonical: bool) -> None:
    document = FULL if canonical else written(FULL)
    validator, unseen = VALIDATORS[canonical], []
    assert validator.is_valid(document)
    for path in places_of(document):
        name, value = path[-1], value_at(document, path)
        in_when = len(path) > 1 and path[-2] in ("when", "methods", "domain", "types", "amounts")
        fixed = (
            isinstance(name, str)
            and not in_when
            and name not in OPTIONAL
            and not (
                len(path) == 2
                and path[0] in document
                and isinstance(document[path[0]], dict)
                and path[0] not in ("prices", "cancel")
            )
        )
        changes = ["wrong", *(["gone"] if fixed else []), *(["unknown"] if closed(path, value) else [])]
        unseen += [(path, c) for c in changes if validator.is_valid(changed(document, path, c))]

    assert unseen == []


def test_the_document_that_is_mutated_is_taken_and_some_of_its_neighbours_are_not() -> None:
    unlike = {"cancel": {"fee_ceiling": "1000"}}  # base units in one form are no amount in the other

    assert taken(FULL) and taken(FULL | unlike)
    assert taken_in_yaml(written(FULL))
    assert not VALIDATORS[False].is_valid(written(FULL) | unlike)

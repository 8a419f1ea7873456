"""What the pages say of the API is what the code makes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import jsonschema

from custody.adapters.http.app import skeleton
from custody.api.errors import Code
from custody.requests import STATES, SUBSTATES, State, Substate, substates

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", SPEC / "make_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_made_again_to_the_byte() -> None:
    made: dict[str, str] = maker().files()

    assert {name: (SPEC / name).read_text() for name in made} == made


def test_every_state_and_code_is_explained() -> None:
    states, codes = ((SPEC / f"{name}.md").read_text() for name in ("request-states", "problem-codes"))

    assert set(STATES) == set(State) and set(SUBSTATES) == set(Substate)
    assert {one for possible in substates().values() for one in possible} == set(Substate)
    assert all(f"| `{state}` |" in states for state in State)
    assert all(f"| `{code}` |" in codes for code in Code)


def test_the_document_is_of_openapi_3_1_and_its_schemas_are_schemas() -> None:
    document = skeleton().openapi()

    assert document["openapi"].startswith("3.1.")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads((SPEC / "openapi.json").read_text()) == document

"""schemathesis finds nothing on the HTTP door, and would."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from schemathesis.core.failures import FailureGroup

from custody.adapters.http.app import skeleton
from tests.fuzz.http_door import MODES, Signature, attack, operations, rounds, served

EXAMPLES = 10
TRIES = 6


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("fuzz")) as found:
        yield found


@pytest.mark.parametrize(("label", "mode"), rounds(), ids=str)
def test_schemathesis_finds_nothing(url: str, label: str, mode: Any) -> None:
    attack(url, operations()[label], mode=mode, examples=EXAMPLES)


def test_schemathesis_sees_an_answer_that_the_document_does_not_have(url: str) -> None:
    document = skeleton().openapi()
    document["components"]["schemas"]["Wallet"]["properties"]["paths"] = {"type": "string"}

    with pytest.raises(FailureGroup):
        attack(url, operations(document)["GET /v1/wallets"], mode=MODES[0], examples=5)


def test_schemathesis_sees_a_wrong_call_that_is_answered(url: str) -> None:
    document = skeleton().openapi()
    parameters = document["paths"]["/v1/requests"]["get"]["parameters"]
    limit = next(one for one in parameters if one["name"] == "limit")
    limit["schema"] = {"type": "integer", "maximum": 0}  # 1 is wrong by this, and right by the door

    with pytest.raises(FailureGroup):
        for _ in range(TRIES):
            attack(url, operations(document)["GET /v1/requests"], mode=MODES[1], examples=200)


def test_some_calls_get_as_far_as_a_request_that_is_accepted(url: str) -> None:
    attack(url, operations()["POST /v1/requests"], mode=MODES[0], examples=100)

    with requests.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session.verify, session.trust_env = False, False
        listed = session.get(f"{url}/v1/requests", auth=Signature()).json()["requests"]
    assert listed

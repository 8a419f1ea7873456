"""JSON-RPC to a chain on this machine, as the demo's purses and looks use it."""

import http.client
import json
from typing import Any

from policy.errors import OperationalError

ANSWER_S = 10.0


def call(port: int, method: str, *parameters: Any, chain: str) -> Any:
    """One call. Raises ``OperationalError``."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OperationalError(f"the {chain} gives no {method}: {error}") from error
    finally:
        connection.close()
    if answer.get("error"):
        raise OperationalError(f"the {chain} refuses {method}: {answer['error']['message']}")
    return answer["result"]

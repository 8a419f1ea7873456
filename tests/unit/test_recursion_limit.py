"""What is nested too deep has to be an error: past the interpreter's usual limit it overflows the stack."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["custody.main", "signer_nodes.main"])
def test_no_library_of_a_process_lifts_the_recursion_limit(module: str) -> None:
    limit = "sys.getrecursionlimit()"
    code = f"import sys\nbefore = {limit}\nimport {module}\nprint({limit} - before)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "0\n"

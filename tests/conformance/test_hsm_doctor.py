"""The doctor finds every way out of a weak key, and none out of the node's own."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, Mechanism, MechanismFlag

from signer_nodes.hsm import doctor
from signer_nodes.hsm.attempts import Bench
from signer_nodes.hsm.attributes import Template
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.errors import OpenTokenError
from signer_nodes.hsm.keys import COSIGN, KEK, PRF, SEAL, KeyTemplate, make_key
from signer_nodes.hsm.token import Token

pytest_plugins = ("tests.fixtures_softhsm",)

TEMPLATES = (COSIGN, PRF, SEAL, KEK)
SOFTOKN = Path("/usr/lib/x86_64-linux-gnu/libsoftokn3.so")
SHIM = r"""
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
/* NSS softokn wants its folder as an argument of C_Initialize, which python-pkcs11 cannot pass. */
typedef struct { void *mutexes[4]; unsigned long flags; char *parameters; void *reserved; } arguments;
typedef struct { unsigned char version[2]; unsigned long (*initialize)(void *); void *rest[67]; } functions;
static functions *nss, shim;
static unsigned long initialize(void *ignored) {
    arguments given;
    (void)ignored;
    memset(&given, 0, sizeof given);
    given.flags = 2;
    given.parameters = getenv("NSS_TEST_PARAMETERS");
    return nss->initialize(&given);
}
unsigned long C_GetFunctionList(functions **list) {
    if (!nss) {
        void *module = dlopen("%s", RTLD_NOW | RTLD_LOCAL);
        ((unsigned long (*)(functions **))dlsym(module, "C_GetFunctionList"))(&nss);
        shim = *nss;
        shim.initialize = initialize;
    }
    *list = &shim;
    return 0;
}
"""
EXAMINE = """
import dataclasses
import sys
import pkcs11
from pkcs11 import Attribute
from signer_nodes.hsm import doctor
from signer_nodes.hsm.keys import SEAL
from signer_nodes.hsm.token import Token

module, label = sys.argv[1], "NSS Certificate DB"
session = pkcs11.lib(module).get_token(token_label=label).open(rw=True, so_pin="")
session.init_pin("pin-of-the-test")
session.close()
token = Token.open(module, label, pin=lambda: "pin-of-the-test")
known = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
for finding in doctor.examine_templates(token, [dataclasses.replace(SEAL, closed=known, mechanisms=())]):
    print("ok" if finding.ok else "OPEN", finding.name, "|", finding.detail)
"""


def weakened(template: KeyTemplate, **changes: Any) -> KeyTemplate:
    attributes: Template = {Attribute[name]: value for name, value in changes.items()}
    return dataclasses.replace(template, closed={**template.closed, **attributes})


def bad(token: Token, template: KeyTemplate) -> dict[str, str]:
    """The doctor's complaints about a throwaway key of this template, without the key's label."""
    findings = doctor.examine_templates(token, [template])
    return {finding.name.partition(": ")[2]: finding.detail for finding in findings if not finding.ok}


def test_the_nodes_own_templates_are_closed(hsm: Pkcs11Hsm) -> None:
    findings = hsm.doctor()

    doctor.refuse_if_open(findings)
    assert [finding for finding in findings if not finding.ok] == []
    assert len(findings) == 3 * 8 + 2


def test_the_fallback_profiles_template_is_closed(token: Token) -> None:
    assert bad(token, KEK) == {}


def test_keys_in_use_are_closed_and_all_examined(hsm: Pkcs11Hsm) -> None:
    hsm.create_sealing_key("k1", 0)
    findings = hsm.doctor_live()

    doctor.refuse_if_open(findings)
    assert {finding.name.partition(": ")[0] for finding in findings} == {"cosign", "prf", "seal/k1/0"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.kind)
def test_every_refusal_that_counts_was_possible_on_a_weak_key(token: Token, template: KeyTemplate) -> None:
    """A refusal proves something only if the same call works on a key that may do everything."""
    findings = doctor.examine_templates(token, [template])
    proven = {
        finding.name.partition(": ")[2]: int(finding.detail.split()[3])
        for finding in findings
        if "attempts refused" in finding.detail
    }
    not_in_softhsm = {"is not wrapped", "refuses other mechanisms and uses"} if template is COSIGN else set()

    assert len(proven) == 5
    assert {name for name, count in proven.items() if count == 0} == not_in_softhsm


@pytest.mark.parametrize("template", (PRF, SEAL, KEK), ids=lambda template: template.kind)
def test_an_extractable_key_is_wrapped_out_and_reported(token: Token, template: KeyTemplate) -> None:
    complaints = bad(token, weakened(template, EXTRACTABLE=True))

    assert "AES_KEY_WRAP" in complaints["is not wrapped"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.kind)
def test_a_readable_key_is_reported(token: Token, template: KeyTemplate) -> None:
    complaints = bad(token, weakened(template, EXTRACTABLE=True, SENSITIVE=False))

    assert "read VALUE" in complaints["value is not readable"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.kind)
def test_a_copyable_key_is_reported(token: Token, template: KeyTemplate) -> None:
    assert "copy" in bad(token, weakened(template, COPYABLE=True))["is not copied"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.kind)
def test_a_modifiable_key_is_reported(token: Token, template: KeyTemplate) -> None:
    assert "set LABEL" in bad(token, weakened(template, MODIFIABLE=True))["is not changed"]


@pytest.mark.parametrize(
    ("template", "use"),
    [(SEAL, "encrypt by AES_CBC_PAD"), (SEAL, "decrypt by AES_ECB"), (PRF, "sign by SHA224_HMAC")],
    ids=["seal encrypts", "seal decrypts", "prf signs"],
)
def test_a_key_without_allowed_mechanisms_is_reported(token: Token, template: KeyTemplate, use: str) -> None:
    complaints = bad(token, dataclasses.replace(template, mechanisms=()))

    assert use in complaints["refuses other mechanisms and uses"]


@pytest.mark.parametrize(
    ("flag", "mechanism", "use"),
    [
        (MechanismFlag.WRAP, Mechanism.AES_KEY_WRAP, "wrap another key by AES_KEY_WRAP"),
        (MechanismFlag.SIGN, Mechanism.AES_CMAC, "sign by AES_CMAC"),
        (MechanismFlag.DERIVE, Mechanism.AES_ECB_ENCRYPT_DATA, "derive by AES_ECB_ENCRYPT_DATA"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_key_of_two_purposes_is_reported(
    token: Token, flag: MechanismFlag, mechanism: Mechanism, use: str
) -> None:
    """The key is made with a second purpose, and examined as one that may not have it."""
    loose = dataclasses.replace(
        SEAL, capabilities=SEAL.capabilities | flag, mechanisms=(*SEAL.mechanisms, mechanism)
    )

    def examine(connection: Any) -> list[doctor.Finding]:
        key = make_key(connection, loose, label="throwaway/loose")
        return doctor._examine(Bench(connection), SEAL, "throwaway/loose", key)

    findings = token.run("examine a loose key", examine)
    complaints = {finding.name.partition(": ")[2]: finding.detail for finding in findings if not finding.ok}

    assert use in complaints["refuses other mechanisms and uses"]


def test_refusals_of_a_key_that_does_nothing_at_all_prove_nothing(token: Token) -> None:
    def examine(connection: Any) -> list[doctor.Finding]:
        other = dataclasses.replace(PRF, mechanisms=(Mechanism.SHA224_HMAC,))
        key = make_key(connection, other, label="throwaway/idle")
        return doctor._examine(Bench(connection), PRF, "throwaway/idle", key)

    findings = {finding.name: finding for finding in token.run("examine an idle key", examine)}

    assert not findings["throwaway/idle: does its own work"].ok


def test_a_live_key_that_says_it_is_weak_is_found_at_every_start(hsm: Pkcs11Hsm) -> None:
    def plant(connection: Any) -> None:
        make_key(connection, weakened(SEAL, EXTRACTABLE=True), label="seal/k1/0")

    hsm._token.run("plant a weak key", plant)

    with pytest.raises(OpenTokenError, match=r"seal/k1/0: says that it is closed .*EXTRACTABLE"):
        doctor.refuse_if_open(hsm.doctor())


def test_an_examination_leaves_nothing_on_the_token(hsm: Pkcs11Hsm) -> None:
    def count(connection: Any) -> int:
        return len(connection.find({}))

    before = hsm._token.run("count", count)
    hsm.doctor()

    assert hsm._token.run("count", count) == before


def test_an_open_token_is_refused_with_each_reason(token: Token) -> None:
    findings = doctor.examine_templates(token, [SEAL, weakened(PRF, EXTRACTABLE=True)])

    with pytest.raises(OpenTokenError, match=r"throwaway/prf: is not wrapped .*AES_KEY_WRAP") as caught:
        doctor.refuse_if_open(findings)
    assert "throwaway/seal" not in str(caught.value)


def test_no_findings_prove_nothing() -> None:
    with pytest.raises(OpenTokenError, match="examined nothing"):
        doctor.refuse_if_open([])


@pytest.mark.skipif(not (SOFTOKN.exists() and shutil.which("cc")), reason="needs libnss3 and a C compiler")
def test_nss_softokn_which_lets_keys_out_is_refused(tmp_path: Path) -> None:
    """A real module whose keys say they are not extractable and are wrapped out all the same."""
    source, module = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM % SOFTOKN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", module, source, "-ldl"], check=True)
    parameters = f"configdir='sql:{tmp_path}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE, module],
        env={**os.environ, "NSS_TEST_PARAMETERS": parameters},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "OPEN throwaway/seal: is not wrapped" in done.stdout, done.stderr

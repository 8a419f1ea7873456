"""Attempt what must be impossible with the node's keys, and refuse to run if any of it works.

Reading attributes back proves little: a module may answer "not extractable" and still wrap the key out
(NSS softokn did). So each attempt is made for real. A refusal proves something only if the call could have
worked, so the same call is made on a control, a session key of the same type that may do everything,
and a finding says how many refusals count.

``examine_templates`` makes throwaway keys of the node's templates, at every start. ``examine_live``
tries the same on the keys in use, at provisioning only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pkcs11 import Attribute, ObjectClass, exceptions

from signer_nodes.hsm.attempts import Attempt, Bench, can
from signer_nodes.hsm.errors import OpenTokenError
from signer_nodes.hsm.keys import (
    CAPABILITIES,
    COSIGN,
    COSIGN_LABEL,
    KEK,
    PRF,
    PRF_LABEL,
    SEAL,
    KeyTemplate,
    make_key,
)
from signer_nodes.hsm.seal import SealProfile
from signer_nodes.hsm.token import Connection, Token

THROWAWAY_PREFIX: Final = "throwaway/"
_LIVE_KINDS: Final = {"cosign": COSIGN, "prf": PRF, "seal": SEAL, "kek": KEK}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must be impossible: ``ok`` when it was."""

    name: str
    ok: bool
    detail: str


def templates_in_use(profile: SealProfile) -> tuple[KeyTemplate, ...]:
    """The kinds of keys that a node of this profile has."""
    return (COSIGN, PRF, SEAL if profile is SealProfile.GCM else KEK)


def examine_templates(token: Token, templates: Iterable[KeyTemplate]) -> tuple[Finding, ...]:
    """Examine a throwaway key on the token for each template, and destroy it again."""
    findings: list[Finding] = []
    for template in templates:
        findings += _examine_throwaway(token, template)
    return tuple(findings)


def read_live(token: Token) -> tuple[Finding, ...]:
    """What every key in use says of itself. Changes nothing and attempts nothing."""

    def work(connection: Connection) -> tuple[Finding, ...]:
        found = [
            (label, kind, connection.key(kind.object_class, label)) for label, kind in _live_keys(connection)
        ]
        return tuple(_says_closed(label, kind, key) for label, kind, key in found if key is not None)

    return token.run("read the live keys' attributes", work)


def examine_live(token: Token) -> tuple[Finding, ...]:
    """Examine every key in use. At provisioning only: an attempt that works has spoiled the key."""

    def work(connection: Connection) -> tuple[Finding, ...]:
        bench = Bench(connection)
        findings: list[Finding] = []
        for label, template in _live_keys(connection):
            key = connection.key(template.object_class, label)
            if key is not None:
                findings += _examine(bench, template, label, key)
        return tuple(findings)

    return token.run("examine the live keys", work)


def refuse_if_open(findings: Iterable[Finding]) -> None:
    """Raise ``OpenTokenError`` naming every finding that is not ok; also when there is none at all."""
    found = tuple(findings)
    if not found:
        raise OpenTokenError("the doctor examined nothing, which proves nothing: provision the token first")
    bad = [f"{finding.name} ({finding.detail})" for finding in found if not finding.ok]
    if bad:
        raise OpenTokenError(
            f"{len(bad)} of {len(found)} things that must be impossible are possible: {'; '.join(bad)}."
            " Do not run on this token: fix its policy or use another HSM, then make new keys"
        )


def _examine_throwaway(token: Token, template: KeyTemplate) -> list[Finding]:
    label = THROWAWAY_PREFIX + template.kind

    def work(connection: Connection) -> list[Finding]:
        _destroy_labelled(connection, label)  # A crash during an earlier examination leaves one.
        try:
            key = make_key(connection, template, label=label)
            return _examine(Bench(connection), template, label, key)
        finally:
            _destroy_labelled(connection, label)

    return token.run(f"examine a throwaway {template.kind} key", work)


def _examine(bench: Bench, template: KeyTemplate, label: str, key: Any) -> list[Finding]:
    control = bench.control(template)
    findings = [
        _judge(f"{label}: value is not readable", bench.reads(), key, control),
        _judge(f"{label}: is not copied", bench.copies(), key, control),
        _judge(f"{label}: is not wrapped", bench.wraps(), key, control),
        _knows_all_wrapping(f"{label}: wrapping mechanisms are known", bench.untried_wrapping()),
        _judge(f"{label}: refuses other mechanisms and uses", bench.uses(template), key, control),
        _judge(f"{label}: is not changed", bench.changes(label), key, control),
        _says_closed(label, template, key),
        _still_works(f"{label}: does its own work", template, key),
    ]
    control.destroy()
    return findings


def _judge(name: str, attempts: list[Attempt], key: Any, control: Any) -> Finding:
    """Make each attempt on the key, and on the control to see whether a refusal means anything."""
    worked = sorted({attempt.name for attempt in attempts if can(attempt, key)})
    if worked:
        return Finding(name, False, f"worked: {', '.join(worked)}")
    proven = sum(can(attempt, control) for attempt in attempts)
    return Finding(name, True, f"{len(attempts)} attempts refused, {proven} of which work on a weak key")


def _knows_all_wrapping(name: str, unknown: list[str]) -> Finding:
    """Mechanisms that say they wrap and that the doctor cannot try are left to the operator."""
    if unknown:
        return Finding(name, True, f"not tried, forbid them in the HSM's policy: {', '.join(unknown)}")
    return Finding(name, True, "every mechanism that says it wraps was tried")


def _says_closed(label: str, template: KeyTemplate, key: Any) -> Finding:
    """The attributes the token itself reports, for what no attempt can show (ALWAYS_SENSITIVE)."""
    expected: dict[Attribute, bool] = {
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.ALWAYS_SENSITIVE: True,
        Attribute.NEVER_EXTRACTABLE: True,
        Attribute.PRIVATE: True,
        Attribute.LOCAL: True,
        Attribute.MODIFIABLE: False,
        Attribute.COPYABLE: False,
    }
    wrong = [
        attribute.name for attribute, value in expected.items() if _attribute(key, attribute) is not value
    ]
    flags = {name: bool(flag & template.capabilities) for name, flag in CAPABILITIES.items()}
    wrong += [flag.name for flag, allowed in flags.items() if not allowed and _attribute(key, flag)]
    if _allowed_mechanisms(key) not in (None, frozenset(template.mechanisms)):
        wrong.append("ALLOWED_MECHANISMS")
    detail = f"wrong: {', '.join(wrong)}" if wrong else "all attributes as made"
    return Finding(f"{label}: says that it is closed", not wrong, detail)


def _still_works(name: str, template: KeyTemplate, key: Any) -> Finding:
    """The key's own use, last: a connection that broke on the way refuses everything and proves nothing."""
    own = Bench.own_use(template)
    works = can(own, key)
    return Finding(
        name, works, f"{own.name} works" if works else f"{own.name} fails: nothing above is proven"
    )


def _allowed_mechanisms(key: Any) -> frozenset[int] | None:
    """Nothing where the token does not know this attribute; what that means, the attempts show."""
    try:
        return frozenset(key[Attribute.ALLOWED_MECHANISMS])
    except exceptions.PKCS11Error:
        return None


def _attribute(key: Any, attribute: Attribute) -> bool | None:
    try:
        return bool(key[attribute])
    except exceptions.PKCS11Error:
        return None


def _live_keys(connection: Connection) -> list[tuple[str, KeyTemplate]]:
    found: list[tuple[str, KeyTemplate]] = [(COSIGN_LABEL, COSIGN), (PRF_LABEL, PRF)]
    for handle in connection.find({Attribute.CLASS: ObjectClass.SECRET_KEY}):
        label = str(handle[Attribute.LABEL])
        kind = label.partition("/")[0]
        if kind in ("seal", "kek"):
            found.append((label, _LIVE_KINDS[kind]))
    return found


def _destroy_labelled(connection: Connection, label: str) -> None:
    for handle in connection.find({Attribute.LABEL: label}):
        connection.destroy(handle)

"""Rollback records against a real token, through crashes between create and destroy."""

from typing import TYPE_CHECKING, Any

import pytest
from pkcs11 import Attribute, exceptions

from policy.errors import CallerError
from signer_nodes.hsm import objects, records
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.errors import HsmError
from signer_nodes.hsm.objects import create_version
from signer_nodes.hsm.token import Connection, Token

if TYPE_CHECKING:
    from tests.fixtures_softhsm import SoftHsm

pytest_plugins = ("tests.fixtures_softhsm",)

HEAD = "record/head"


class Crash(Exception):
    """The process dies here."""


class Uncopied:
    """An object of a token that copies none."""

    def __init__(self, handle: Any) -> None:
        self.destroy = handle.destroy

    def copy(self, _: object) -> Any:
        raise exceptions.FunctionNotSupported


class CopiedInSession(Uncopied):
    """An object of a token that leaves its copies in the session, whatever it is asked."""

    def __init__(self, handle: Any) -> None:
        super().__init__(handle)
        self._handle = handle

    def copy(self, _: object) -> Any:
        return self._handle.copy({})


class CopiesNothing:
    """A session of such a token, or of one that keeps no data in sessions; ``made`` is what was asked."""

    def __init__(self, session: Any, *, keeps_none: bool = False, copy: type[Uncopied] = Uncopied) -> None:
        self._session = session
        self._copy = copy
        self._keeps_none = keeps_none
        self.made: list[bool] = []

    def create_object(self, template: dict[Attribute, Any]) -> Any:
        self.made.append(template[Attribute.TOKEN])
        if self._keeps_none and not template[Attribute.TOKEN]:
            raise exceptions.TemplateInconsistent
        handle = self._session.create_object(template)
        return handle if template[Attribute.TOKEN] else self._copy(handle)


def leave_version(token: Token, sequence: int, data: bytes) -> None:
    """What a process that died between create and destroy leaves behind."""
    token.run(
        "leave a version", lambda connection: create_version(connection, HEAD, sequence=sequence, data=data)
    )


def count_versions(token: Token) -> int:
    return token.run("count", lambda connection: len(objects._versions(connection, HEAD)))


def test_a_record_never_written_reads_as_nothing(token: Token) -> None:
    assert records.read_record(token, "head") is None


def test_each_write_raises_the_sequence_and_tidying_leaves_one_version(token: Token) -> None:
    sequences = [records.write_record(token, "head", data=bytes([number])) for number in range(5)]
    before = count_versions(token)
    objects.tidy(token)

    assert (sequences, before) == ([1, 2, 3, 4, 5], 5)
    assert records.read_record(token, "head") == (5, b"\x04")
    assert count_versions(token) == 1


def test_no_more_replaced_versions_wait_than_a_few(token: Token) -> None:
    for number in range(objects.REPLACED_MAX + 5):
        records.write_record(token, "head", data=bytes([number]))

    assert count_versions(token) == objects.REPLACED_MAX + 1


def test_a_secret_that_is_replaced_is_gone_at_once(token: Token) -> None:
    for number in range(3):
        objects.write(token, HEAD, data=bytes([number]))

    assert count_versions(token) == 1


def test_a_replaced_version_that_somebody_else_destroyed_is_let_be(token: Token) -> None:
    for data in (b"first", b"second"):
        records.write_record(token, "head", data=data)
    token.run("destroy elsewhere", lambda connection: connection.replaced[0].destroy())

    objects.tidy(token)

    assert records.write_record(token, "head", data=b"third") == 3
    assert count_versions(token) == 1


def test_after_a_crash_between_create_and_destroy_the_highest_wins(token: Token) -> None:
    records.write_record(token, "head", data=b"before")
    leave_version(token, 2, b"after")

    assert records.read_record(token, "head") == (2, b"after")
    assert records.write_record(token, "head", data=b"later") == 3
    assert count_versions(token) == 1


def test_a_write_that_dies_before_it_destroys_has_been_written(token: Token) -> None:
    records.write_record(token, "head", data=b"before")

    def dying(connection: Connection) -> None:
        newest = records.read_record(token, "head")
        assert newest is not None
        create_version(connection, HEAD, sequence=newest[0] + 1, data=b"after")
        raise Crash

    with pytest.raises(Crash):
        token.run("die", dying)
    assert records.read_record(token, "head") == (2, b"after")


def test_opening_sweeps_the_leftovers(softhsm: "SoftHsm") -> None:
    place = softhsm.token()
    token = place.open()
    leave_version(token, 7, b"seven")
    leave_version(token, 9, b"nine")
    leave_version(token, 8, b"eight")
    token.close()
    hsm = place.open_hsm()

    assert count_versions(hsm._token) == 1
    assert hsm.read_record("head") == (9, b"nine")
    hsm.close()


def test_a_version_cut_off_while_written_does_not_count(token: Token) -> None:
    records.write_record(token, "head", data=b"whole")

    def cut_off(connection: Connection) -> None:
        create_version(connection, HEAD, sequence=2, data=b"cut")
        newest = objects._versions(connection, HEAD)
        value = next(bytes(handle[17]) for handle, stored in newest if stored and stored.sequence == 2)
        for handle, stored in newest:
            if stored and stored.sequence == 2:
                connection.destroy(handle)
        connection.session.create_object({0: 0, 1: True, 2: True, 3: HEAD, 16: "quorumkeep", 17: value[:-1]})

    token.run("cut off a version", cut_off)

    assert records.read_record(token, "head") == (1, b"whole")
    assert objects.sweep(token, records.PREFIX) == 1
    assert count_versions(token) == 1


def test_two_truths_at_one_sequence_are_an_error(token: Token) -> None:
    leave_version(token, 3, b"one")
    leave_version(token, 3, b"other")

    with pytest.raises(HsmError, match="two processes"):
        records.read_record(token, "head")


def test_the_boot_counter_rises_with_every_start(softhsm: "SoftHsm") -> None:
    place = softhsm.token()
    counters = []
    for start in range(3):
        hsm = place.open_hsm()
        counters.append(hsm.raise_boot_counter(bytes([start]) * 32))
        hsm.close()

    assert counters == [1, 2, 3]


def test_records_do_not_share_sequences_or_data(hsm: Pkcs11Hsm) -> None:
    hsm.raise_boot_counter(bytes(32))
    hsm.write_record("head", b"head")
    hsm.put_blob("head", b"a blob of that name")

    assert hsm.read_record("boot") == (1, bytes(32))
    assert hsm.read_record("head") == (1, b"head")


def test_names_and_lengths_are_checked(token: Token) -> None:
    with pytest.raises(CallerError, match="boot, head"):
        records.write_record(token, "tail", data=b"")
    with pytest.raises(CallerError, match="32 bytes, got 31"):
        records.raise_boot_counter(token, bytes(31))


def test_another_process_that_writes_the_record_is_found_at_the_next_write(token: Token) -> None:
    records.write_record(token, "head", data=b"ours")

    def replaced_by_another(connection: Connection) -> None:
        other = Connection(connection.session, connection.generation)
        ((ours, _),) = objects._versions(other, HEAD)
        create_version(other, HEAD, sequence=2, data=b"theirs")
        other.destroy(ours)

    token.run("write from elsewhere", replaced_by_another)

    with pytest.raises(HsmError, match="two processes"):
        records.write_record(token, "head", data=b"ours again")


def test_what_a_token_is_given_stays_as_it_is_and_out_of_the_session(token: Token) -> None:
    def look(connection: Connection) -> list[Any]:
        handle = create_version(connection, HEAD, sequence=1, data=b"data")
        in_session = connection.session.get_objects({Attribute.TOKEN: False, Attribute.LABEL: HEAD})
        return [handle[Attribute.PRIVATE], handle[Attribute.MODIFIABLE], list(in_session)]

    assert token.run("look", look) == [True, False, []]


@pytest.mark.parametrize("keeps_none", [False, True])
def test_a_token_that_copies_nothing_is_asked_to_once_and_written_to_all_the_same(
    token: Token, keeps_none: bool
) -> None:
    def write_twice(connection: Connection) -> list[bool]:
        uncopying = CopiesNothing(connection.session, keeps_none=keeps_none)
        other = Connection(uncopying, connection.generation)
        create_version(other, HEAD, sequence=1, data=b"first")
        create_version(other, HEAD, sequence=2, data=b"second")
        return uncopying.made

    assert token.run("write twice", write_twice) == [False, True, True]
    assert records.read_record(token, "head") == (2, b"second")


def test_a_copy_that_would_go_with_the_process_is_made_on_the_token(token: Token) -> None:
    def write(connection: Connection) -> list[Any]:
        other = Connection(CopiesNothing(connection.session, copy=CopiedInSession), connection.generation)
        create_version(other, HEAD, sequence=1, data=b"first")
        return list(connection.session.get_objects({Attribute.TOKEN: False, Attribute.LABEL: HEAD}))

    assert token.run("write", write) == []
    assert records.read_record(token, "head") == (1, b"first")

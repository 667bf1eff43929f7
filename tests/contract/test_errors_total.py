"""One vocabulary of failures: every code has its place on every surface."""

from __future__ import annotations

from crypto_streaming import errors
from crypto_streaming.errors import ERRORS, CommandError, ErrorCode, known_code

# Written down in the contract (spec of ExecuteCommandSync): the REST status of each code a gateway gives.
REST_STATUS = {
    "CLIENT_NOT_CONNECTED": 503,
    "COMMAND_TIMEOUT": 504,
    "CLIENT_DISCONNECTED": 504,
    "BUS_UNAVAILABLE": 503,
    "CLIENT_OVERLOADED": 503,
    "COMMAND_EXPIRED": 410,
    "INVALID_COMMAND": 400,
    "DUPLICATE_COMMAND": 409,
}


def test_every_code_is_mapped_once() -> None:
    assert set(ERRORS) == set(ErrorCode)
    exceptions = [mapping.exception for mapping in ERRORS.values()]
    assert len(set(exceptions)) == len(exceptions)
    assert all(ERRORS[code].exception.code is code for code in ErrorCode)


def test_every_exception_is_in_the_table() -> None:
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CommandError)} - {
        CommandError
    }
    assert declared == {mapping.exception for mapping in ERRORS.values()}


def test_rest_statuses_are_the_documented_ones() -> None:
    assert {code: ERRORS[ErrorCode(code)].http_status for code in REST_STATUS} == REST_STATUS


def test_a_clients_own_words_are_not_a_code() -> None:
    assert known_code("REJECTED") is None
    assert known_code("") is None
    assert known_code("COMMAND_TIMEOUT") is ErrorCode.COMMAND_TIMEOUT

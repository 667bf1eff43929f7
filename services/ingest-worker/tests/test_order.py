from __future__ import annotations

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.domain.order import order_key, primary_time, sent_moment, with_tiebreak
from ingest_worker.domain.times import MAX_SECONDS, MIN_SECONDS, Moment, column_moment, column_time

MOMENTS = st.tuples(st.integers(MIN_SECONDS, MAX_SECONDS), st.integers(0, 999_999_999))
RECEIVED = st.tuples(st.integers(0, MAX_SECONDS), st.integers(0, 999_999).map(lambda micros: micros * 1000))
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=5)
PARTS = st.tuples(RECEIVED, st.none() | MOMENTS, st.none() | MOMENTS, IDS)


def as_specified(parts: tuple[Moment, Moment | None, Moment | None, str]) -> tuple[object, ...]:
    received, sent, claimed, message_id = parts
    limit = (received[0] + 300, received[1])
    return min(claimed or sent or received, limit), sent or (-(2**63), 0), message_id.encode()


@given(PARTS, PARTS)
def test_bytes_compare_as_the_times_and_ids_do(
    left: tuple[Moment, Moment | None, Moment | None, str], right: tuple[Moment, Moment | None, Moment | None, str]
) -> None:
    assert (order_key(*left) < order_key(*right)) == (as_specified(left) < as_specified(right))
    assert (order_key(*left) == order_key(*right)) == (as_specified(left) == as_specified(right))


@given(PARTS)
def test_times_can_be_read_back(parts: tuple[Moment, Moment | None, Moment | None, str]) -> None:
    key = order_key(*parts)
    assert sent_moment(key) == parts[1]
    assert column_moment(primary_time(key))[0] <= parts[0][0] + 300


@given(MOMENTS)
def test_column_times_keep_microseconds(moment: Moment) -> None:
    seconds, nanos = column_moment(column_time(moment))
    assert (seconds, nanos // 1000) == (moment[0], moment[1] // 1000)


@given(IDS, IDS, st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_the_tiebreak_decides_only_between_equal_ids(left: str, right: str, one: bytes, other: bytes) -> None:
    first = with_tiebreak(order_key((0, 0), None, None, left), one)
    second = with_tiebreak(order_key((0, 0), None, None, right), other)
    if left == right:
        assert (first < second) == (one < other)
    else:
        assert (first < second) == (left.encode() < right.encode())


def test_postgresql_orders_the_same(database_url: str) -> None:
    keys = [
        order_key((seconds, 0), sent, claimed, message_id)
        for seconds in (0, 1_700_000_000)
        for sent in (None, (MIN_SECONDS, 0), (0, 1), (1_700_000_000, 0), (MAX_SECONDS, 999_999_999))
        for claimed in (None, (-1, 5))
        for message_id in ("a", "b", "ab", "é", "\U0001f600")
    ]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT k FROM unnest(%s::bytea[]) AS k ORDER BY k", [keys]).fetchall()
    assert [row[0] for row in rows] == sorted(keys)

"""The slow path of a write: some of the batch's message_ids are known already, or come twice with other content.

Called when fewer history rows were inserted than staged. Most often they are the same rows, delivered again, and there
is nothing to do. What really differs is settled by `domain.conflicts`, under a lock of the history row: `resolve`. When
a stored copy is replaced, the latest values are made anew from history, under a lock of their row that is taken before
history is read: `remake`. A worker that adds to the same history at the same time has either merged its latest values
before, and is read, or waits for the lock and merges after.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ingest_worker.domain.conflicts import BuriedCopy, conflict_detail, conflict_letter, hash_in_detail, settle
from ingest_worker.domain.rows import CONTENT_HASH, ORDER_KEY, DeadLetter, History, Key, Row, rank
from service_kit.deadletters import DeadLetterReason

from .database import Connection
from .tables import LATEST, Table

_DIFFERENT = (
    "(t.received_at, t.epoch, t.position, t.content_hash)"
    " IS DISTINCT FROM (s.received_at, s.epoch, s.position, s.content_hash)"
)


@dataclass
class Resolved:
    """The outcome for one history table.

    Attributes:
        rows: the copies of this batch that stand.
        remake: keys of latest values to which a copy that was replaced may have contributed.
        letters: dead letters to be written.
        lost: keys of which the batch holds a copy that says something else than the one that stands.
    """

    rows: list[Row] = field(default_factory=list[Row])
    remake: list[Row] = field(default_factory=list[Row])
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    lost: list[Key] = field(default_factory=list[Key])


def resolve(connection: Connection, table: Table, history: History) -> Resolved:
    """Settle what a staged and partly inserted history table has in conflict with what was stored before.

    Raises:
        psycopg.Error: as any statement.
    """
    stored = _lock_different(connection, table, history)
    standing = dict(history.rows)
    resolved = Resolved()
    contested = sorted(stored.keys() | history.others.keys())
    buried = _buried(connection, contested, stored, history)
    for key in contested:
        old = stored.get(key)
        copies = [history.rows[key], *history.others.get(key, ())]
        settlement = settle(copies if old is None else [old, *copies], buried.get(key, ()))
        if any(copy[CONTENT_HASH] != settlement.kept[CONTENT_HASH] for copy in copies):
            resolved.lost.append(key)
        resolved.letters += [conflict_letter(table.name, row) for row in settlement.bury]
        if settlement.dig_up:
            connection.execute("DELETE FROM dead_letters WHERE id = ANY(%s)", [settlement.dig_up])
        if settlement.kept is old:
            del standing[key]
        elif old is not None:
            connection.execute(table.replace, [*key, *key])
            kept = settlement.kept
            if table.state_key and (old[ORDER_KEY], old[CONTENT_HASH]) != (kept[ORDER_KEY], kept[CONTENT_HASH]):
                resolved.remake.append(table.key_of_state(old))
    resolved.rows += standing.values()
    return resolved


def remake(connection: Connection, table: Table, resolved: Resolved) -> list[Row]:
    """Reset the latest values that must be made anew.

    Returns:
        The few rows of history that determine them, to be merged like those of the batch.

    Raises:
        psycopg.Error: as any statement.
    """
    if not resolved.remake:
        return []
    latest = LATEST[table.name]
    # All rows that this transaction will touch, in the order in which everyone takes them.
    touched = sorted({*resolved.remake, *map(table.key_of_state, resolved.rows)})
    connection.execute(latest.lock, [list(column) for column in zip(*touched, strict=True)])
    witnesses: list[Row] = []
    for key in sorted(set(resolved.remake)):
        # In READ COMMITTED this statement sees what those have committed for whom the lock waited.
        found = connection.execute(latest.witnesses, [*key, key[0]]).fetchall()
        connection.execute(latest.reset if found else latest.delete, key)
        witnesses += found
    return witnesses


def _lock_different(connection: Connection, table: Table, history: History) -> dict[Key, Row]:
    """Lock the stored rows that differ from their staged copies, and those of contested keys; read the former."""
    keys = sorted(history.others)
    query = f"""
        SELECT {table.select_list("t")}
        FROM stage_{table.name} AS s JOIN {table.name} AS t USING (client_id, message_id)
        WHERE {_DIFFERENT} OR (s.client_id, s.message_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        ORDER BY t.client_id, t.message_id FOR UPDATE OF t
    """  # noqa: S608  (our own constants)
    rows = connection.execute(query.encode(), [[key[0] for key in keys], [key[1] for key in keys]]).fetchall()
    # The same copy is either our own insertion or was written before: in both cases ours stands for it.
    return {row[:2]: row for row in rows if rank(row) != rank(history.rows[row[:2]])}


def _buried(
    connection: Connection, keys: list[Key], stored: dict[Key, Row], history: History
) -> dict[Key, list[BuriedCopy]]:
    """Find earlier dead letters of these keys, of the contents at hand."""
    if not keys:
        return {}
    wanted: set[tuple[str, str, str]] = set()
    for key in keys:
        copies = [history.rows[key], *history.others.get(key, ())]
        if key in stored:
            copies.append(stored[key])
        wanted.update((*key, conflict_detail(copy[CONTENT_HASH])) for copy in copies)
    client_ids, message_ids, details = zip(*sorted(wanted), strict=True)
    found: dict[Key, list[BuriedCopy]] = {}
    for letter_id, client_id, message_id, detail, received, epoch, position in connection.execute(
        """
        SELECT d.id, d.client_id, d.message_id, d.detail,
            (extract(epoch FROM d.received_at - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint,
            d.epoch, d.position
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (client_id, message_id, detail)
        JOIN dead_letters AS d
            ON d.client_id = w.client_id COLLATE "C" AND d.message_id = w.message_id COLLATE "C" AND d.detail = w.detail
        WHERE d.reason = %s
        """,
        [list(client_ids), list(message_ids), list(details), DeadLetterReason.MESSAGE_ID_CONFLICT.value],
    ):
        letter = BuriedCopy(letter_id, hash_in_detail(detail), (received, epoch, position))
        found.setdefault((client_id, message_id), []).append(letter)
    return found

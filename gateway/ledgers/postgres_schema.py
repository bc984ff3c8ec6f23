"""The tables of the ledger on PostgreSQL, in a schema of their own, and how they come to be.

intents, outcomes, corrections   append-only: the rows of attempts; `roll_up` alone may remove them, after it has summed
extensions   append-only likewise: what running attempts reserved beyond their intents
running      attempts that may have no outcome yet: written with the intent, removed with the outcome. It may name too
             many, never too few, and makes looking for what dead processes left behind independent of the history
rollups      daily sums of attempts that `roll_up` removed
nodes        when each process was last alive, by the server's clock; `alive` are those that said so lately
lines        (a view) attempts and roll-ups alike, with what reports and counters add up
"""

from __future__ import annotations

import asyncpg

from gateway.core.ports import LedgerUnusable

HELD = "i.reserved_nano + (SELECT coalesce(sum(nano), 0) FROM gateway.extensions x WHERE x.attempt = i.attempt)::bigint"
"""What an intent `i` has reserved, in nano-dollars."""

_FIRST = """
CREATE TABLE gateway.intents (
    attempt text COLLATE "C" PRIMARY KEY,
    call text NOT NULL,
    number integer NOT NULL,
    at double precision NOT NULL,
    node text NOT NULL,
    caller text NOT NULL,
    team text NOT NULL,
    labels jsonb NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    target text NOT NULL,
    policy text NOT NULL,
    reserved_nano bigint NOT NULL,
    reserved_tokens bigint NOT NULL
);
CREATE INDEX intents_at ON gateway.intents (at, attempt);

CREATE TABLE gateway.outcomes (
    attempt text COLLATE "C" PRIMARY KEY,
    at double precision NOT NULL,
    state text NOT NULL,
    cost_nano bigint,
    input bigint NOT NULL DEFAULT 0,
    cached_input bigint NOT NULL DEFAULT 0,
    cache_write bigint NOT NULL DEFAULT 0,
    audio_input bigint NOT NULL DEFAULT 0,
    image_input bigint NOT NULL DEFAULT 0,
    output bigint NOT NULL DEFAULT 0,
    reasoning bigint NOT NULL DEFAULT 0,
    audio_output bigint NOT NULL DEFAULT 0,
    image_output bigint NOT NULL DEFAULT 0,
    served text NOT NULL DEFAULT '',
    tier text NOT NULL DEFAULT '',
    rates text NOT NULL DEFAULT '',
    flags text NOT NULL DEFAULT '',
    status integer NOT NULL DEFAULT 0,
    duration_s double precision NOT NULL DEFAULT 0,
    verdicts text NOT NULL DEFAULT ''
);

CREATE TABLE gateway.corrections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    delta_nano bigint NOT NULL,
    reason text NOT NULL
);
CREATE INDEX corrections_attempt ON gateway.corrections (attempt);

CREATE TABLE gateway.running (attempt text COLLATE "C" PRIMARY KEY);

CREATE TABLE gateway.rollups (
    day double precision NOT NULL,
    caller text NOT NULL,
    team text NOT NULL,
    labels jsonb NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    attempts bigint NOT NULL,
    cost_nano bigint NOT NULL,
    input bigint NOT NULL,
    cached_input bigint NOT NULL,
    cache_write bigint NOT NULL,
    audio_input bigint NOT NULL,
    image_input bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    audio_output bigint NOT NULL,
    image_output bigint NOT NULL,
    unpriced bigint NOT NULL,
    estimated bigint NOT NULL,
    unknown bigint NOT NULL,
    failed bigint NOT NULL
);
CREATE UNIQUE INDEX rollups_line ON gateway.rollups (day, caller, team, md5(labels::text), endpoint, model, provider);

CREATE VIEW gateway.lines AS
SELECT
    i.attempt, o.attempt IS NULL AS open, i.reserved_nano, i.at, i.caller, i.team, i.labels, i.endpoint, i.model,
    i.provider, 1 AS attempts, coalesce(o.cost_nano, 0) + coalesce(c.delta_nano, 0) AS cost_nano,
    o.input, o.cached_input, o.cache_write, o.audio_input, o.image_input,
    o.output, o.reasoning, o.audio_output, o.image_output,
    (o.attempt IS NOT NULL AND o.cost_nano IS NULL)::int AS unpriced,
    ('estimated' = ANY (string_to_array(o.flags, ',')))::int AS estimated,
    (o.state = 'unknown')::int AS unknown,
    (o.state = 'failed')::int AS failed
FROM gateway.intents i
LEFT JOIN gateway.outcomes o ON o.attempt = i.attempt
LEFT JOIN (SELECT attempt, sum(delta_nano) AS delta_nano FROM gateway.corrections GROUP BY attempt) c
    ON c.attempt = i.attempt
UNION ALL
SELECT
    NULL, false, 0, day, caller, team, labels, endpoint, model,
    provider, attempts, cost_nano,
    input, cached_input, cache_write, audio_input, image_input,
    output, reasoning, audio_output, image_output,
    unpriced, estimated, unknown, failed
FROM gateway.rollups;

CREATE TABLE gateway.nodes (node text PRIMARY KEY, beat_at timestamptz NOT NULL);
CREATE VIEW gateway.alive AS SELECT node FROM gateway.nodes WHERE beat_at > now() - interval '30 seconds';

CREATE TABLE gateway.idempotency (
    key text PRIMARY KEY,
    body text NOT NULL,
    call text NOT NULL,
    node text NOT NULL,
    at double precision NOT NULL,
    done boolean NOT NULL DEFAULT false,
    reply bytea NOT NULL DEFAULT ''
);
CREATE INDEX idempotency_at ON gateway.idempotency (at);

CREATE TABLE gateway.things (
    thing text PRIMARY KEY,
    team text NOT NULL,
    caller text NOT NULL,
    provider text NOT NULL,
    at double precision NOT NULL
);
CREATE INDEX things_at ON gateway.things (at);

CREATE FUNCTION gateway.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'gateway.% is append-only; corrections are further rows', TG_TABLE_NAME;
END $$;

CREATE FUNCTION gateway.refuse_unsummed_intent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.at >= (SELECT rolled_before FROM gateway.meta) THEN
        RAISE EXCEPTION 'gateway.intents is append-only; only what was rolled up is removed';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION gateway.refuse_unsummed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gateway.intents WHERE attempt = OLD.attempt) THEN
        RAISE EXCEPTION 'gateway.% is append-only; only what was rolled up is removed', TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER keep BEFORE UPDATE ON gateway.intents FOR EACH ROW EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep BEFORE UPDATE ON gateway.outcomes FOR EACH ROW EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep BEFORE UPDATE ON gateway.corrections FOR EACH ROW EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON gateway.intents EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON gateway.outcomes EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON gateway.corrections EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_unsummed BEFORE DELETE ON gateway.intents
    FOR EACH ROW EXECUTE FUNCTION gateway.refuse_unsummed_intent();
CREATE TRIGGER keep_unsummed BEFORE DELETE ON gateway.outcomes
    FOR EACH ROW EXECUTE FUNCTION gateway.refuse_unsummed();
CREATE TRIGGER keep_unsummed BEFORE DELETE ON gateway.corrections
    FOR EACH ROW EXECUTE FUNCTION gateway.refuse_unsummed();
"""

# In the view, only what is open holds anything, and only there the extensions are looked up.
_SECOND = f"""
CREATE TABLE gateway.extensions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    nano bigint NOT NULL,
    tokens bigint NOT NULL
);
CREATE INDEX extensions_attempt ON gateway.extensions (attempt);
CREATE TRIGGER keep BEFORE UPDATE ON gateway.extensions FOR EACH ROW EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON gateway.extensions EXECUTE FUNCTION gateway.refuse();
CREATE TRIGGER keep_unsummed BEFORE DELETE ON gateway.extensions
    FOR EACH ROW EXECUTE FUNCTION gateway.refuse_unsummed();

CREATE OR REPLACE VIEW gateway.lines AS
SELECT
    i.attempt, o.attempt IS NULL AS open, CASE WHEN o.attempt IS NULL THEN {HELD} END AS reserved_nano,
    i.at, i.caller, i.team, i.labels, i.endpoint, i.model,
    i.provider, 1 AS attempts, coalesce(o.cost_nano, 0) + coalesce(c.delta_nano, 0) AS cost_nano,
    o.input, o.cached_input, o.cache_write, o.audio_input, o.image_input,
    o.output, o.reasoning, o.audio_output, o.image_output,
    (o.attempt IS NOT NULL AND o.cost_nano IS NULL)::int AS unpriced,
    ('estimated' = ANY (string_to_array(o.flags, ',')))::int AS estimated,
    (o.state = 'unknown')::int AS unknown,
    (o.state = 'failed')::int AS failed
FROM gateway.intents i
LEFT JOIN gateway.outcomes o ON o.attempt = i.attempt
LEFT JOIN (SELECT attempt, sum(delta_nano) AS delta_nano FROM gateway.corrections GROUP BY attempt) c
    ON c.attempt = i.attempt
UNION ALL
SELECT
    NULL, false, 0, day, caller, team, labels, endpoint, model,
    provider, attempts, cost_nano,
    input, cached_input, cache_write, audio_input, image_input,
    output, reasoning, audio_output, image_output,
    unpriced, estimated, unknown, failed
FROM gateway.rollups;
"""  # noqa: S608 - our names

_MIGRATIONS = (_FIRST, _SECOND)
"""What is added to them is added at the end: they ran somewhere. The version is their number."""

VERSION = len(_MIGRATIONS)

_LOCK = 7161_2003
"""The advisory lock of migrations: nodes that start together take turns."""

_META = """
CREATE SCHEMA IF NOT EXISTS gateway;
CREATE TABLE IF NOT EXISTS gateway.meta (version integer NOT NULL, rolled_before double precision NOT NULL DEFAULT 0);
INSERT INTO gateway.meta (version) SELECT 0 WHERE NOT EXISTS (SELECT FROM gateway.meta);
"""


async def migrate(connection: asyncpg.Connection) -> None:
    """Brings the tables to this version. A role that may not create tables is enough once they are there."""
    if await _version(connection) == VERSION:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_META)
        version = await _version(connection)
        for step in _MIGRATIONS[version:]:
            await connection.execute(step)
        await connection.execute("UPDATE gateway.meta SET version = $1", VERSION)


async def require_current(connection: asyncpg.Connection) -> None:
    """For readers, who change nothing."""
    if await _version(connection) != VERSION:
        raise LedgerUnusable("the ledger's tables are missing or older than this gateway: start `gateway serve` once")


async def _version(connection: asyncpg.Connection) -> int:
    if await connection.fetchval("SELECT to_regclass('gateway.meta')") is None:
        return 0
    version = int(await connection.fetchval("SELECT version FROM gateway.meta") or 0)
    if version > VERSION:
        raise LedgerUnusable(
            f"the ledger's tables have version {version}, this gateway knows {VERSION}: "
            "start the newer gateway that wrote them"
        )
    return version

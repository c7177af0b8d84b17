"""asyncpg against one server: `scenario.py HOST PORT USER DATABASE`. Prints a line per check; exits 1 if any failed.

asyncpg speaks binary only, prepares everything, and asks pg_catalog about types that it does not know.
"""

import asyncio
import datetime as dt
import decimal
import io
import json
import sys
import time
import traceback
import uuid

import asyncpg

HOST, PORT, USER, DATABASE = sys.argv[1:5]
CHECKS = []
UTC = dt.timezone.utc
D = decimal.Decimal


def check(function):
    CHECKS.append(function)
    return function


async def connect(**more):
    return await asyncpg.connect(host=HOST, port=int(PORT), user=USER, database=DATABASE, ssl=False, **more)


async def expect(sqlstate, awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        assert error.sqlstate == sqlstate, f"SQLSTATE {error.sqlstate} ({error}), expected {sqlstate}"
        return error
    raise AssertionError(f"no error, expected {sqlstate}")


VALUES = [
    ("bool", True), ("bool", False), ("int2", -32768), ("int4", 2**31 - 1), ("int8", -(2**63)), ("float4", 1.5), ("float8", 0.1),
    ("numeric", D("12345678901234567890.0123456789")), ("numeric", D("-0.000001")), ("numeric", D("0.00")), ("numeric", D("NaN")),
    ("text", "Grüße, 世界"), ("text", ""), ("varchar", "abc"), ("name", "abc"), ("bytea", bytes(range(256))), ("bytea", b""),
    ("date", dt.date(2024, 2, 29)), ("date", dt.date(1, 1, 1)), ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 789012)), ("timestamp", dt.datetime(1969, 12, 31, 23, 59, 59, 1)),
    ("timestamptz", dt.datetime(2024, 2, 29, 12, 34, 56, 789012, UTC)), ("interval", dt.timedelta(days=-3, seconds=5, microseconds=7)),
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")), ("json", '{"a": [1, 2]}'), ("jsonb", '{"a": [1, null]}'), ("oid", 4294967295),
    ("int4[]", [1, 2, None, -4]), ("int8[]", []), ("text[]", ["a", 'b"c', "NULL", "", "{}", "\\", None]), ("int4[]", [[1, 2], [3, 4]]),
    ("bool[]", [True, False]), ("numeric[]", [D("1.50"), D("-2")]), ("uuid[]", [uuid.UUID(int=1)]),
    ("timestamptz[]", [dt.datetime(2020, 1, 1, tzinfo=UTC)]), ("date[]", [dt.date(2020, 1, 1)]), ("interval[]", [dt.timedelta(days=1)]),
    ("jsonb[]", ['{"a": 1}']), ("bytea[]", [b"\x00\x01", b""]),
]


@check
async def every_type():
    conn = await connect()
    for ty, value in VALUES:
        got = await conn.fetchval(f"SELECT $1::{ty}", value)
        same = got == value or (isinstance(value, D) and value.is_nan() and got.is_nan())
        assert same and isinstance(got, type(value)), f"{ty}: {value!r} came back as {got!r}"
        assert await conn.fetchval(f"SELECT $1::{ty}", None) is None, ty
    await conn.close()


@check
async def a_table_of_every_type():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS asyncpg_types")
    await conn.execute(
        "CREATE TABLE asyncpg_types (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric(10,2), t text, v varchar(10),"
        " c char(5), by bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, a int4[], ta text[])"
    )
    row = (1, True, 1, 3, 0.5, 0.25, D("99.50"), "t", "v", "c    ", b"\x00", dt.date(2020, 2, 3), dt.time(1, 2, 3), dt.datetime(2020, 1, 2),
           dt.datetime(2020, 1, 2, tzinfo=UTC), dt.timedelta(1, 2, 3), uuid.UUID(int=7), "[1]", "[1]", [1, None], ["x", None])
    marks = ", ".join(f"${n + 1}" for n in range(len(row)))
    assert await conn.execute(f"INSERT INTO asyncpg_types VALUES ({marks})", *row) == "INSERT 0 1"
    await conn.executemany(f"INSERT INTO asyncpg_types VALUES ({marks})", [(n,) + (None,) * (len(row) - 1) for n in range(2, 50)])
    got = await conn.fetchrow("SELECT * FROM asyncpg_types WHERE id = $1", 1)
    assert tuple(got) == row, [(a, b) for a, b in zip(got, row) if a != b]
    assert await conn.fetchval("SELECT count(*) FROM asyncpg_types WHERE b IS NULL") == 48
    assert await conn.fetchval("SELECT count(*) FROM asyncpg_types WHERE id = any($1::int[])", [1, 2, 99]) == 2
    # Parameter types inferred from columns.
    assert await conn.fetchval("UPDATE asyncpg_types SET n = $1, ta = $2 WHERE id = $3 RETURNING n", D("1.5"), ["q"], 2) == D("1.50")
    await conn.close()


@check
async def prepared_statements_and_attributes():
    conn = await connect()
    statement = await conn.prepare("SELECT $1::int + 1 AS next, 'x'::text AS name")
    assert [p.name for p in statement.get_parameters()] == ["int4"]
    assert [(a.name, a.type.name) for a in statement.get_attributes()] == [("next", "int4"), ("name", "text")]
    for n in range(10):
        assert await statement.fetchval(n) == n + 1
    await statement.fetch(1)
    assert statement.get_statusmsg() == "SELECT 1"
    plan = await (await conn.prepare("SELECT 1")).explain()
    assert plan
    await expect("42P01", conn.prepare("SELECT * FROM nowhere"))
    await conn.close()


@check
async def transactions_and_savepoints():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS asyncpg_txn; CREATE TABLE asyncpg_txn (a int PRIMARY KEY)")
    async with conn.transaction():
        await conn.execute("INSERT INTO asyncpg_txn VALUES (1)")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO asyncpg_txn VALUES (2)")
                await conn.execute("INSERT INTO asyncpg_txn VALUES (1)")
        except asyncpg.UniqueViolationError as error:
            assert error.constraint_name == "asyncpg_txn_pkey" and error.table_name == "asyncpg_txn"
        async with conn.transaction():
            await conn.execute("INSERT INTO asyncpg_txn VALUES (3)")
    assert [r["a"] for r in await conn.fetch("SELECT a FROM asyncpg_txn ORDER BY a")] == [1, 3]
    for isolation in ("serializable", "repeatable_read", "read_committed"):
        async with conn.transaction(isolation=isolation, readonly=True):
            assert await conn.fetchval("SHOW transaction_isolation") == isolation.replace("_", " ")
            assert await conn.fetchval("SHOW transaction_read_only") == "on"
    async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await conn.fetchval("SELECT count(*) FROM asyncpg_txn") == 2
    await conn.close()


@check
async def copy_in_and_out():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS asyncpg_copy; CREATE TABLE asyncpg_copy (a int, b text, c timestamptz, d numeric)")
    when = dt.datetime(2024, 1, 2, tzinfo=UTC)
    rows = [(n, None if n % 7 == 0 else f"row\t{n}\n\\", when, D(n) / 4) for n in range(1000)]
    # Binary COPY.
    assert await conn.copy_records_to_table("asyncpg_copy", records=rows) == "COPY 1000"
    assert [tuple(r) for r in await conn.fetch("SELECT * FROM asyncpg_copy ORDER BY a")] == rows
    out = io.BytesIO()
    assert await conn.copy_from_query("SELECT * FROM asyncpg_copy WHERE a < $1", 500, output=out) == "COPY 500"
    assert out.getvalue().count(b"\n") == 500
    out = io.BytesIO()
    await conn.copy_from_table("asyncpg_copy", output=out, format="csv", header=True)
    out.seek(0)
    await conn.execute("TRUNCATE asyncpg_copy")
    assert await conn.copy_to_table("asyncpg_copy", source=out, format="csv", header=True) == "COPY 1000"
    out = io.BytesIO()
    await conn.copy_from_table("asyncpg_copy", columns=["a", "b"], output=out, format="binary")
    assert out.getvalue()[:11] == b"PGCOPY\n\xff\r\n\x00"
    await expect("22P02", conn.copy_to_table("asyncpg_copy", source=io.BytesIO(b"x,1\n"), columns=["a", "b"], format="csv"))
    await expect("22P04", conn.copy_to_table("asyncpg_copy", source=io.BytesIO(b"not binary"), format="binary"))
    assert await conn.fetchval("SELECT count(*) FROM asyncpg_copy") == 1000
    await conn.close()


@check
async def cursors():
    conn = await connect()
    async with conn.transaction():
        seen = 0
        async for record in conn.cursor("SELECT n FROM generate_series(1, $1::int) AS n", 1000, prefetch=37):
            seen += record["n"]
        assert seen == 500500
        cursor = await conn.cursor("SELECT n FROM generate_series(1, 100) AS n")
        assert (await cursor.fetchrow())["n"] == 1
        assert await cursor.forward(10) == 10
        assert [r["n"] for r in await cursor.fetch(3)] == [12, 13, 14]
    await conn.close()


@check
async def cancel_and_timeouts():
    conn = await connect()
    begin = time.monotonic()
    try:
        await conn.fetch("SELECT pg_sleep(20)", timeout=0.3)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    assert time.monotonic() - begin < 5
    assert await conn.fetchval("SELECT 1") == 1
    task = asyncio.ensure_future(conn.fetch("SELECT pg_sleep(20)"))
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    assert await conn.fetchval("SELECT 2") == 2
    await conn.close()


@check
async def error_codes():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS asyncpg_err; CREATE TABLE asyncpg_err (a int PRIMARY KEY, b int NOT NULL CHECK (b > 0))")
    for code, statement in [
        ("42601", "SELEC 1"), ("42P01", "SELECT * FROM nowhere"), ("42703", "SELECT x FROM asyncpg_err"), ("22012", "SELECT 1/0"),
        ("22003", "SELECT 2147483647 + 1"), ("23502", "INSERT INTO asyncpg_err VALUES (1, NULL)"), ("23514", "INSERT INTO asyncpg_err VALUES (1, 0)"),
    ]:
        await expect(code, conn.execute(statement))
        await expect(code, conn.fetch(statement))
    try:
        await conn.fetchval("SELECT $1::int", "text")
        raise AssertionError("text was taken for an int")
    except asyncpg.DataError:
        pass
    try:
        await asyncpg.connect(host=HOST, port=int(PORT), user=USER, database="nosuchdatabase", ssl=False)
        raise AssertionError("connected")
    except asyncpg.InvalidCatalogNameError:
        pass
    await conn.close()


@check
async def notices():
    conn = await connect()
    seen = []
    conn.add_log_listener(lambda _, message: seen.append((message.severity, message.message)))
    await conn.execute("DROP TABLE IF EXISTS asyncpg_none")
    await asyncio.sleep(0)
    assert seen == [("NOTICE", 'table "asyncpg_none" does not exist, skipping')], seen
    await conn.close()


@check
async def settings_and_introspection():
    conn = await connect(server_settings={"application_name": "asyncpg scenario", "statement_timeout": "5s", "timezone": "Asia/Tokyo"})
    assert await conn.fetchval("SHOW application_name") == "asyncpg scenario"
    assert await conn.fetchval("SHOW statement_timeout") == "5s"
    assert conn.get_settings().TimeZone == "Asia/Tokyo"
    assert conn.get_server_version()[0] == 15
    assert await conn.fetchval("SELECT pg_backend_pid()") == conn.get_server_pid()
    # reset() sends what a pool sends when a connection comes back.
    await conn.execute("SET statement_timeout = '9s'")
    await conn.reset()
    assert await conn.fetchval("SHOW statement_timeout") == "5s"
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    assert await conn.fetchval("SELECT $1::jsonb", {"a": [1]}) == {"a": [1]}
    # An array type that asyncpg does not know asks the catalog.
    assert await conn.fetchval("SELECT ARRAY['a'::varchar, 'b']") == ["a", "b"]
    assert (await conn.fetchval("SELECT 'pg_class'::regclass"))
    assert await conn.fetchval("SELECT (1, 'x')") is not None
    await conn.close()


@check
async def a_pool():
    async with asyncpg.create_pool(host=HOST, port=int(PORT), user=USER, database=DATABASE, ssl=False, min_size=2, max_size=5) as pool:
        async def one(n):
            async with pool.acquire() as conn:
                return await conn.fetchval("SELECT $1::int", n)

        assert await asyncio.gather(*[one(n) for n in range(50)]) == list(range(50))


@check
async def a_schema_change_under_a_prepared_statement():
    conn = await connect()
    await conn.execute("DROP TABLE IF EXISTS asyncpg_ddl; CREATE TABLE asyncpg_ddl (a int); INSERT INTO asyncpg_ddl VALUES (1)")
    statement = await conn.prepare("SELECT * FROM asyncpg_ddl")
    assert len(await statement.fetchrow()) == 1
    await conn.execute("ALTER TABLE asyncpg_ddl ADD COLUMN b int")
    # PostgreSQL: "cached plan must not change result type"; asyncpg prepares anew outside of transactions.
    try:
        await statement.fetchrow()
        raise AssertionError("rows of another shape")
    except asyncpg.InvalidCachedStatementError:
        pass
    assert len(await conn.fetchrow("SELECT * FROM asyncpg_ddl")) == 2
    await conn.close()


async def main():
    failed = 0
    for function in CHECKS:
        begin = time.monotonic()
        try:
            await asyncio.wait_for(function(), 60)
            print(f"ok     {function.__name__} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {function.__name__}", flush=True)
            traceback.print_exc(limit=-3, file=sys.stdout)
    return failed


sys.exit(1 if asyncio.run(main()) else 0)

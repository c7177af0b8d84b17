"""psycopg 3 against one server: `scenario.py CONNINFO`. Prints a line per check; exits 1 if any failed.

Nothing here knows which server answers: run against PostgreSQL 15 every check passes too.
"""

import datetime as dt
import decimal

import sys
import threading
import time
import traceback
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb

CONNINFO = sys.argv[1]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def connect(**more):
    return psycopg.connect(CONNINFO, **more)


def expect(sqlstate, action):
    try:
        action()
    except psycopg.Error as error:
        assert error.sqlstate == sqlstate, f"SQLSTATE {error.sqlstate} ({error}), expected {sqlstate}"
        return error
    raise AssertionError(f"no error, expected {sqlstate}")


UTC = dt.timezone.utc
# Type, value, what comes back.
VALUES = [
    ("bool", True),
    ("bool", False),
    ("int2", -32768),
    ("int4", 2147483647),
    ("int8", -9223372036854775808),
    ("float4", 1.5),
    ("float8", 0.1),
    ("float8", float("inf")),
    ("numeric", decimal.Decimal("12345678901234567890.0123456789")),
    ("numeric", decimal.Decimal("-0.000001")),
    ("numeric", decimal.Decimal("0")),
    ("numeric", decimal.Decimal("1E+30")),
    ("text", "Grüße, 世界 ' \\ \" \n\t"),
    ("text", ""),
    ("varchar", "abc"),
    ("bytea", bytes(range(256))),
    ("bytea", b""),
    ("date", dt.date(2024, 2, 29)),
    ("date", dt.date(1, 1, 1)),
    ("date", dt.date(9999, 12, 31)),
    ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 789012)),
    ("timestamp", dt.datetime(1969, 12, 31, 23, 59, 59, 1)),
    ("timestamptz", dt.datetime(2024, 2, 29, 12, 34, 56, 789012, UTC)),
    ("interval", dt.timedelta(days=-3, hours=5, microseconds=7)),
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("int4[]", [1, 2, None, -4]),
    ("int8[]", []),
    ("text[]", ["a", 'b"c', "NULL", "", "{}", "\\", None]),
    ("int4[]", [[1, 2], [3, 4]]),
    ("bool[]", [True, False]),
    ("numeric[]", [decimal.Decimal("1.50"), decimal.Decimal("-2")]),
    ("uuid[]", [uuid.UUID(int=1), uuid.UUID(int=2)]),
    ("timestamptz[]", [dt.datetime(2020, 1, 1, tzinfo=UTC)]),
    ("date[]", [dt.date(2020, 1, 1)]),
    ("float8[]", [1.25, -0.5]),
    ("bytea[]", [b"\x00\x01", b""]),
]


@check
def every_type_in_every_format():
    with connect(autocommit=True) as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        for binary in (False, True):
            for placeholder in ("%s", "%b", "%t"):
                cur = conn.cursor(binary=binary)
                for ty, value in VALUES:
                    cur.execute(f"SELECT {placeholder}::{ty}", [value])
                    got = cur.fetchone()[0]
                    assert got == value and type(got) is type(value), f"{ty} {placeholder} binary={binary}: {value!r} came back as {got!r}"
                    cur.execute(f"SELECT {placeholder}::{ty}", [None])
                    assert cur.fetchone()[0] is None, ty


@check
def every_type_in_a_table():
    with connect(autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_types")
        conn.execute(
            "CREATE TABLE psycopg_types (id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(10,2),"
            " t text, v varchar(10), c char(5), by bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb,"
            " a int4[], ta text[])"
        )
        row = [1, True, 1, 2, 3, 0.5, 0.25, decimal.Decimal("1.23"), decimal.Decimal("99.50"), "t", "v", "c    ", b"\x00\xff", dt.date(2020, 2, 3),
               dt.time(1, 2, 3), dt.datetime(2020, 1, 2, 3, 4, 5), dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), dt.timedelta(1, 2, 3),
               uuid.UUID(int=7), {"a": [1, None, "x"]}, {"b": {"c": 1.5}}, [1, None], ["x", None]]
        params = list(row)
        params[19], params[20] = Json(row[19]), Jsonb(row[20])
        marks = ",".join(["%s"] * len(row))
        conn.execute(f"INSERT INTO psycopg_types VALUES ({marks})", params)
        conn.execute(f"INSERT INTO psycopg_types VALUES ({marks})", [2] + [None] * (len(row) - 1))
        for binary in (False, True):
            got = conn.cursor(binary=binary).execute("SELECT * FROM psycopg_types ORDER BY id").fetchall()
            assert list(got[0]) == row, [(a, b) for a, b in zip(got[0], row) if a != b]
            assert got[1] == (2,) + (None,) * (len(row) - 1)
        cur = conn.execute("SELECT * FROM psycopg_types")
        names = [d.name for d in cur.description]
        assert names[0] == "id" and names[-1] == "ta"
        oids = [d.type_code for d in cur.description]
        assert oids == [23, 16, 21, 23, 20, 700, 701, 1700, 1700, 25, 1043, 1042, 17, 1082, 1083, 1114, 1184, 1186, 2950, 114, 3802, 1007, 1009], oids
        n2 = cur.description[8]
        assert (n2.precision, n2.scale) == (10, 2)
        assert cur.description[10].display_size == 10


@check
def json_values():
    with connect(autocommit=True) as conn:
        doc = {"a": [1, 2.5, None, True, "ü\n"], "b": {}}
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            assert cur.execute("SELECT %s::json, %s::jsonb", [Json(doc), Jsonb(doc)]).fetchone() == (doc, doc)
        assert conn.execute("SELECT %s::jsonb -> 'a' ->> 0", [Jsonb(doc)]).fetchone()[0] == "1"
        expect("22P02", lambda: conn.execute("SELECT '{bad'::json"))


@check
def prepared_statements():
    with connect(autocommit=True, prepare_threshold=0) as conn:
        for n in range(20):
            assert conn.execute("SELECT %s::int + 1", [n]).fetchone() == (n + 1,)
        assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] >= 1
    with connect(autocommit=True) as conn:
        conn.prepare_threshold = 2
        conn.prepared_max = 3
        for n in range(40):
            # More statements than may be kept: psycopg deallocates the oldest.
            assert conn.execute(f"SELECT %s::int + {n % 8}", [n]).fetchone() == (n + n % 8,)


@check
def a_schema_change_under_a_prepared_statement():
    with connect(autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_ddl")
        conn.execute("CREATE TABLE psycopg_ddl (a int)")
        conn.execute("INSERT INTO psycopg_ddl VALUES (1)", prepare=True)
        assert conn.execute("SELECT a FROM psycopg_ddl", prepare=True).fetchall() == [(1,)]
        conn.execute("ALTER TABLE psycopg_ddl ADD COLUMN b int DEFAULT 5")
        assert conn.execute("SELECT a FROM psycopg_ddl", prepare=True).fetchall() == [(1,)]


@check
def transactions_and_savepoints():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_txn")
        conn.execute("CREATE TABLE psycopg_txn (a int PRIMARY KEY)")
        conn.commit()
        conn.execute("INSERT INTO psycopg_txn VALUES (1)")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        conn.rollback()
        assert conn.execute("SELECT count(*) FROM psycopg_txn").fetchone() == (0,)
        conn.commit()
        with conn.transaction():
            conn.execute("INSERT INTO psycopg_txn VALUES (1)")
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO psycopg_txn VALUES (2)")
                    conn.execute("INSERT INTO psycopg_txn VALUES (1)")
            except psycopg.errors.UniqueViolation as error:
                assert error.diag.constraint_name == "psycopg_txn_pkey", error.diag.constraint_name
                assert error.diag.table_name == "psycopg_txn"
                assert "already exists" in error.diag.message_detail
            with conn.transaction():
                conn.execute("INSERT INTO psycopg_txn VALUES (3)")
                raise psycopg.Rollback()
            conn.execute("INSERT INTO psycopg_txn VALUES (4)")
        assert conn.execute("SELECT a FROM psycopg_txn ORDER BY a").fetchall() == [(1,), (4,)]
        conn.commit()
        expect("42703", lambda: conn.execute("SELECT nonsense FROM psycopg_txn"))
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        expect("25P02", lambda: conn.execute("SELECT 1"))
        conn.rollback()
        conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        conn.read_only = True
        assert conn.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        expect("25006", lambda: conn.execute("INSERT INTO psycopg_txn VALUES (9)"))
        conn.rollback()


@check
def copy_in_and_out():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_copy")
        conn.execute("CREATE TABLE psycopg_copy (a int, b text, c timestamptz)")
        when = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
        rows = [(n, None if n % 7 == 0 else f"row\t{n}\n\\", when) for n in range(1000)]
        cur = conn.cursor()
        with cur.copy("COPY psycopg_copy (a, b, c) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        assert cur.rowcount == 1000 and cur.statusmessage == "COPY 1000"
        with cur.copy("COPY (SELECT a, b, c FROM psycopg_copy ORDER BY a) TO STDOUT") as copy:
            copy.set_types(["int4", "text", "timestamptz"])
            assert list(copy.rows()) == rows
        with cur.copy("COPY psycopg_copy TO STDOUT (FORMAT csv, HEADER)") as copy:
            text = b"".join(copy)
        assert text.startswith(b"a,b,c\n") and len(text) > 1000
        conn.execute("TRUNCATE psycopg_copy")
        with cur.copy("COPY psycopg_copy FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(text)
        assert conn.execute("SELECT count(*), sum(a) FROM psycopg_copy").fetchone() == (1000, 499500)
        conn.commit()

        def bad():
            with cur.copy("COPY psycopg_copy FROM STDIN") as copy:
                copy.write(b"x\ty\n")

        error = expect("22P02", bad)
        assert "COPY psycopg_copy, line 1, column a" in (error.diag.context or ""), error.diag.context
        conn.rollback()

        def stop():
            with cur.copy("COPY psycopg_copy FROM STDIN") as copy:
                copy.write_row((1, "x", when))
                raise KeyError("the client gives up")

        try:
            stop()
        except KeyError:
            pass
        conn.rollback()
        assert conn.execute("SELECT count(*) FROM psycopg_copy").fetchone() == (1000,)


@check
def copy_binary():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_copyb")
        conn.execute("CREATE TABLE psycopg_copyb (a int4, b text, c numeric)")
        rows = [(1, "x", decimal.Decimal("1.5")), (2, None, decimal.Decimal("-3")), (3, "", None)]
        cur = conn.cursor()
        with cur.copy("COPY psycopg_copyb FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "numeric"])
            for row in rows:
                copy.write_row(row)
        with cur.copy("COPY (SELECT * FROM psycopg_copyb ORDER BY a) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "numeric"])
            assert list(copy.rows()) == rows


@check
def cursors_and_fetch_size():
    with connect() as conn:
        with conn.cursor(name="named") as cur:
            cur.execute("SELECT n FROM generate_series(1, 5000) AS n")
            cur.itersize = 100
            assert cur.fetchone() == (1,)
            assert cur.fetchmany(3) == [(2,), (3,), (4,)]
            assert sum(r[0] for r in cur) == 5000 * 5001 // 2 - 10
        with conn.cursor(name="scrolling", scrollable=True) as cur:
            cur.execute("SELECT n FROM generate_series(1, 10) AS n")
            cur.scroll(5)
            assert cur.fetchone() == (6,)
            cur.scroll(-2)
            assert cur.fetchone() == (5,)
            cur.scroll(0, mode="absolute")
            assert cur.fetchone() == (1,)
        with conn.cursor(name="binary one", binary=True) as cur:
            cur.execute("SELECT 1::int8, 'x'::text")
            assert cur.fetchone() == (1, "x")
        conn.commit()
        with conn.cursor(name="held", withhold=True) as cur:
            cur.execute("SELECT n FROM generate_series(1, 10) AS n")
            conn.commit()
            assert cur.fetchall() == [(n,) for n in range(1, 11)]
        # Rows by stream: single-row mode.
        cur = conn.cursor()
        assert sum(r[0] for r in cur.stream("SELECT generate_series(1, 100)")) == 5050
        expect("34000", lambda: conn.execute("FETCH 1 FROM nowhere"))


@check
def cancel():
    with connect(autocommit=True) as conn:
        timer = threading.Timer(0.3, conn.cancel_safe if hasattr(conn, "cancel_safe") else conn.cancel)
        timer.start()
        begin = time.monotonic()
        expect("57014", lambda: conn.execute("SELECT pg_sleep(20)"))
        assert time.monotonic() - begin < 5
        timer.join()
        assert conn.execute("SELECT 1").fetchone() == (1,)
        conn.execute("SET statement_timeout = '100ms'")
        expect("57014", lambda: conn.execute("SELECT pg_sleep(20)"))


@check
def error_codes():
    with connect(autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_child")
        conn.execute("DROP TABLE IF EXISTS psycopg_parent")
        conn.execute("CREATE TABLE psycopg_parent (a int PRIMARY KEY, b int NOT NULL CHECK (b > 0), c varchar(3))")
        conn.execute("CREATE TABLE psycopg_child (a int REFERENCES psycopg_parent)")
        for code, statement in [
            ("42601", "SELEC 1"),
            ("42P01", "SELECT * FROM nowhere"),
            ("42703", "SELECT x FROM psycopg_parent"),
            ("42883", "SELECT nofunction(1)"),
            ("22012", "SELECT 1/0"),
            ("22003", "SELECT 2147483647 + 1"),
            ("22P02", "SELECT 'x'::int"),
            ("22007", "SELECT 'x'::date"),
            ("22008", "SELECT '2024-02-31'::date"),
            ("23502", "INSERT INTO psycopg_parent VALUES (1, NULL)"),
            ("23514", "INSERT INTO psycopg_parent VALUES (1, 0)"),
            ("22001", "INSERT INTO psycopg_parent VALUES (1, 1, 'long')"),
            ("23503", "INSERT INTO psycopg_child VALUES (1)"),
            ("42P07", "CREATE TABLE psycopg_parent (a int)"),
            ("2BP01", "DROP TABLE psycopg_parent"),
            ("42804", "SELECT CASE WHEN 1 THEN 2 END"),
            ("42803", "SELECT a, count(*) FROM psycopg_parent"),
            ("42702", "SELECT a FROM psycopg_parent p, psycopg_child c"),
            ("3D000", None),
            ("22P05", None),
        ]:
            if statement:
                expect(code, lambda: conn.execute(statement))
        error = expect("42601", lambda: conn.execute("SELECT 1 FRM x y"))
        assert error.diag.statement_position == "14" and error.diag.severity == "ERROR", error.diag.statement_position
    try:
        psycopg.connect(CONNINFO, dbname="nosuchdatabase")
        raise AssertionError("connected to a database that is not there")
    except psycopg.OperationalError as error:
        assert 'database "nosuchdatabase" does not exist' in str(error), error


@check
def notices():
    with connect(autocommit=True) as conn:
        seen = []
        conn.add_notice_handler(lambda diag: seen.append((diag.severity, diag.sqlstate, diag.message_primary)))
        conn.execute("DROP TABLE IF EXISTS psycopg_none")
        assert seen == [("NOTICE", "00000", 'table "psycopg_none" does not exist, skipping')], seen
        conn.execute("COMMIT")
        assert seen[1][:2] == ("WARNING", "25P01"), seen


@check
def pipelines():
    with connect(autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_pipe")
        conn.execute("CREATE TABLE psycopg_pipe (a int PRIMARY KEY)")
        with conn.pipeline() as pipe:
            cursors = [conn.execute("SELECT %s::int", [n]) for n in range(50)]
            pipe.sync()
            assert [c.fetchone()[0] for c in cursors] == list(range(50))
        try:
            with conn.pipeline() as pipe:
                conn.execute("INSERT INTO psycopg_pipe VALUES (1)")
                conn.execute("INSERT INTO psycopg_pipe VALUES (1)")
                conn.execute("INSERT INTO psycopg_pipe VALUES (2)")
                pipe.sync()
        except psycopg.errors.UniqueViolation:
            pass
        # One Sync, one implicit transaction: nothing of it stays.
        assert conn.execute("SELECT count(*) FROM psycopg_pipe").fetchone() == (0,)
        with conn.cursor() as cur:
            cur.executemany("INSERT INTO psycopg_pipe VALUES (%s) RETURNING a", [(n,) for n in range(100)], returning=True)
            got = [cur.fetchone()[0]]
            while cur.nextset():
                got.append(cur.fetchone()[0])
            assert got == list(range(100))


@check
def connection_parameters():
    with connect(application_name="psycopg scenario", options="-c statement_timeout=5s -c TimeZone=Asia/Tokyo") as conn:
        assert conn.execute("SHOW application_name").fetchone() == ("psycopg scenario",)
        assert conn.execute("SHOW statement_timeout").fetchone() == ("5s",)
        assert conn.execute("SELECT current_setting('timezone')").fetchone() == ("Asia/Tokyo",)
        assert conn.info.parameter_status("TimeZone") == "Asia/Tokyo"
        assert conn.info.parameter_status("server_version").startswith("15")
        assert conn.info.server_version >= 150000 and conn.info.encoding == "utf-8"
        assert conn.info.backend_pid == conn.execute("SELECT pg_backend_pid()").fetchone()[0]
        conn.execute("SET application_name = 'other'")
        assert conn.info.parameter_status("application_name") == "other"
        now = conn.execute("SELECT '2024-01-01 00:00:00+00'::timestamptz").fetchone()[0]
        assert now.utcoffset() == dt.timedelta(hours=9), now
        assert len(conn.execute("SHOW ALL").fetchall()) > 20


@check
def simple_protocol_and_many_statements():
    with connect(autocommit=True, cursor_factory=psycopg.ClientCursor) as conn:
        assert conn.execute("SELECT %s, %s::numeric", ["it's", decimal.Decimal("1.10")]).fetchone() == ("it's", decimal.Decimal("1.10"))
    with connect(autocommit=True) as conn:
        cur = conn.execute("SELECT 1; SELECT 2, 3")
        assert cur.fetchall() == [(1,)]
        assert cur.nextset() and cur.fetchall() == [(2, 3)]
        cur = conn.execute("")
        assert cur.description is None


@check
def rows_as_dicts_and_identifiers():
    with connect(autocommit=True, row_factory=dict_row) as conn:
        query = sql.SQL("SELECT {value} AS {name}").format(value=sql.Literal("v"), name=sql.Identifier('Weird "name"'))
        assert conn.execute(query).fetchone() == {'Weird "name"': "v"}


@check
def large_values_and_many_rows():
    with connect(autocommit=True) as conn:
        text = "x" * 5_000_000
        assert conn.execute("SELECT length(%s)", [text]).fetchone() == (len(text),)
        assert conn.cursor(binary=True).execute("SELECT %s::bytea", [text.encode()]).fetchone()[0] == text.encode()
        cur = conn.execute("SELECT n, n::text FROM generate_series(1, 50000) AS n")
        assert len(cur.fetchall()) == 50000
        many = conn.execute("SELECT array_length(%s::int[], 1)", [list(range(10000))]).fetchone()
        assert many == (10000,)


@check
def two_phase_commands_are_refused_cleanly():
    with connect() as conn:
        try:
            conn.execute("PREPARE TRANSACTION 'x'")
        except psycopg.Error as error:
            assert error.sqlstate in ("0A000", "55000"), error.sqlstate
        conn.rollback()


failed = 0
for function in CHECKS:
    begin = time.monotonic()
    try:
        function()
        print(f"ok     {function.__name__} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
    except Exception:
        failed += 1
        print(f"FAILED {function.__name__}", flush=True)
        traceback.print_exc(limit=-3, file=sys.stdout)
sys.exit(1 if failed else 0)

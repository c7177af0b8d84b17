#!/usr/bin/env python3
"""Regenerates the golden table from a live PostgreSQL 15: generate.py "psql -h … -p … -U …" > postgres15.tsv

Each line: kind, settings, arguments (separated by ¦), what PostgreSQL answers (an error as !SQLSTATE message)."""
import subprocess
import sys

rows = []


def cast(ty, values, settings=""):
    for v in values:
        rows.append((ty, settings, [v], f"select $q${v}$q$::{ty}::text"))


def call(kind, sql, argument_lists, settings=""):
    for args in argument_lists:
        rows.append((kind, settings, list(args), "select (" + sql.format(*[f"$q${a}$q$" for a in args]) + ")::text"))


FLOATS = """0 -0 1 -1 0.1 1e15 1e14 999999999999999 123456789012345678 1e-4 1e-5 0.00012345 3.4028235e38 1e23 5e-324 1.7976931348623157e308
1e309 1e-400 NaN Infinity -inf 9007199254740993 18014398509482008 1.1 2.5e10 abc 1e 123. .5 1e100 4503599627370497.5 33554433 16777217 1e6 1e7 123456.7 0.3
-1271008324828393.2 -1566361.25 1271008324828393.75""".split() + [" 7 ", ""]
cast("float8", FLOATS)
cast("float4", FLOATS)
cast("float8", ["0.1", "123456789.123456789", "1e20", "1e-7"], "extra_float_digits=0")
NUMS = """0 0.00 1.50 -1.5 1e10 1e-10 1.2e3 12345678901234567890.123456789 NaN Infinity -inf +inf 1e131072 1e-16384 abc 1. .5 . 1e 1e5.5 --1 +5 000123.4500
99999999999999999999999999999999999999""".split() + [" 12 ", ""]
cast("numeric", NUMS)
cast("numeric(5,2)", "1.005 -1.005 999.994 999.995 1e5 NaN inf 0.001".split())
cast("numeric(3,-2)", "12345 99949 99950 49 50".split())
cast("numeric(2,4)", "0.0012 0.01 0.00994 0.00999 0.00996".split())
cast("int4", "1 -1 +5 2147483647 2147483648 -2147483648 1.5 abc 12a".split() + [" 3 ", "", "- 1"])
cast("int2", "32767 32768 x".split())
cast("int8", "9223372036854775807 9223372036854775808 -9223372036854775808".split())
cast("bool", "t true yes on 1 f false no off 0 o of TRUE tru 2 maybe".split() + [" true "])
cast("varchar(3)", ["abc", "abcd", "abc  ", ""])
cast("char(3)", ["a", "abcd", "abc  "])
cast("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 {A0EEBC999C0B4EF8BB6D6BB9BD380A11} a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11 a0eebc99 zz".split())
cast("bytea", ["\\xdeadBEEF", "\\x de ad", "abc\\000\\\\x", "\\x1", "\\xzz", "a\\9"])
cast("bytea", ["\\xdeadbeef41005c"], "bytea_output=escape")
TS = ["2001-02-03", "2001-02-03 04:05:06", "2001-02-03T04:05:06Z", "2001-02-03 04:05:06.789", "2001-02-03 04:05:06.1234567", "2001-02-03 04:05:06+02", "2001-02-03 04:05:06 -05:30",
      "20010203", "20010203 040506", "20010203T040506", "Feb 3 2001", "3 Feb 2001 4:05 PM", "February 3, 2001 12:00 am", "Sat Feb 03 04:05:06 2001", "2001/2/3", "2/3/2001", "1/2/03", "03-Feb-2001",
      "2001-Feb-03", "Feb-03-2001", "0044-03-15 BC", "March 15, 44 BC", "4714-11-24 BC", "4714-11-23 BC", "294276-12-31 23:59:59.999999", "294277-01-01", "infinity", "-infinity", "epoch", "2001-02-30",
      "2001-13-01", "2001-02-03 25:00", "2001-02-03 24:00:00", "2001-02-03 23:59:60", "2001-02-03 12:60", "2001.034", "J2451187", "99-01-08", "1999 Jan 08 PST", "2001-02-03 04:05 America/New_York",
      "2001-07-03 04:05 America/New_York", "2001-02-03 04:05 EST", "garbage", "", "2001-02-03 04:05:06 PM", "2001-02-03 14:05:06 PM", "0000-01-01", "2001-02-03 04:05:06+16", "2001-02-03 04:05:06+15:59:59",
      "2001-04-01 02:30", "2001-10-28 01:30", "12:00", "2001-02", "2001-02-03 04:05:06.999999999", "1-1-1", "13/2/2001", "2001-2-3 4:5:6", "10000-01-01", "1850-01-01", "2001-02-03 04:05:06 Nowhere/City"]
for style in ["ISO, MDY", "SQL, DMY", "Postgres, MDY", "German, YMD"]:
    for ty in ["timestamp", "timestamptz", "date"]:
        cast(ty, TS if style == "ISO, MDY" else TS[:28], f"DateStyle={style};TimeZone=America/New_York")
cast("timestamptz", ["2001-02-03 04:05:06", "2001-07-03 04:05:06", "1850-01-01 00:00"], "TimeZone=Europe/Berlin")
cast("timestamptz", ["2001-02-03 04:05:06", "2020-06-01 00:00+00"], "TimeZone=Asia/Kolkata")
cast("timestamp(2)", ["2001-02-03 04:05:06.785", "2001-02-03 23:59:59.995"])
cast("time", ["04:05:06.789", "04:05", "040506", "4:05 PM", "04:05:06+02", "24:00:00", "24:00:01", "23:59:60", "allballs", "25:00", "x", "04:05:06.789 PST", "2001-02-03 04:05:06"])
cast("timetz", ["04:05:06-08", "04:05:06 EST", "04:05:06+05:30", "0405-3", "04:05:06.789Z"])
IV = ["1 day", "1 year 2 mons 3 days 04:05:06", "-1 year +2 mons -3 days", "1 day ago", "1.5 days", "1.5 months", "1.5 years", "0.1 months", "1 week", "1-2", "3 4:05:06", "-1-2 +3 -4:05:06", "P1Y2M3DT4H5M6S", "P1.5D", "PT0.001S",
      "P0001-02-03T04:05:06", "1 century 2 decades", "1 millennium", "100 ms", "5 us", "10", "1:30", "-00:00:01.5", "1 mon -1 days", "178000000 years", "179000000 years", "abc", "", "1 foo", "1 day 1 day", "P", "@ 1 minute", "1h 2m 3s", "1y2mon3d",
      "2147483647 days", "2147483648 days", "00:00:00.1234567", "1 day -00:00:01", "-1 day 00:00:01", "1 year -1 month", "999999:59:59", "1 hour 30", "P1W", "PT1H30M", "P-1Y-2M3DT-4H", "1.75 hours", "3 days 4", "1:2:3.5 ago", "0"]
for style in ["postgres", "postgres_verbose", "sql_standard", "iso_8601"]:
    cast("interval", IV, f"IntervalStyle={style}")
cast("interval year", ["1", "1-2", "18 months"])
cast("interval day to minute", ["1 2:03:04", "5"])
cast("interval second(2)", ["1.239"])
cast("interval minute to second", ["1:02"])
cast("json", ['{"a":1,  "b" : [1,2]}', "[1,2", "{'a':1}", '{"a" 1}', "nul", "1 2", '"\\u00e9"', '"\\uZ"', "", "[1,]", '{"a":1,}', "01", "1.", "tru", '"a\nb"', '"\\x"', "[1 2]"])
cast("jsonb", ['{"b":1,"a":2,"aa":3,"b":4}', '[1.50, 1e3, -0, "x\\ty", null, true]', "{}", "[]", '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"', '{"a":{"b":[]}}', "1e400"])
cast("int4[]", ["{1,2,3}", "{{1,2},{3,4}}", "{}", "[2:3]={1,2}", "{1,NULL}", "{1,2", "{{1,2},{3}}", "1,2", "{1,,2}", "{a}", " { 1 , 2 } ", "[1:2]={1}", "{{},{}}"])
cast("text[]", ['{a,"b c","d\\"e",NULL,"NULL",""}', '{"a,b",\\{}', "{null}", '{"x"y}'])
PAIRS = [("1", "3"), ("10", "4"), ("1.5", "0.0007"), ("123456789012345678901234567890", "7"), ("0", "5"), ("1e-20", "3"), ("1", "0"), ("NaN", "1"), ("Infinity", "2"), ("1", "Infinity"), ("Infinity", "Infinity"), ("2", "10"), ("99999", "10000"), ("-7", "2"),
         ("7.5", "-2.25"), ("1e100", "3"), ("0.00001", "100000"), ("1.000", "1.0"), ("5", "0.5"), ("100", "-3"), ("2", "0.5"), ("1.1", "100"), ("-8", "3"), ("0", "0"), ("-2", "0.5"), ("10", "-20"), ("0.5", "-10"), ("3.7", "2.9")]
for op in ["+", "-", "*", "/", "%", "^"]:
    call("numeric" + op, "{0}::numeric " + op + " {1}::numeric", PAIRS)
ONES = [(x,) for x in "0 1 2 4 0.5 100 1234.5678 1e-10 1e20 0.001 3.14159265358979 0.9999 1.0001 50 -1 1000000 NaN Infinity 700 -700 6001 1.00000000000000000001".split()]
for f in ["sqrt", "ln", "exp", "log"]:
    call(f, f + "({0}::numeric)", ONES)
call("log2", "log({0}::numeric, {1}::numeric)", [("2", "8"), ("2.0", "1000"), ("10", "0.001"), ("1", "5"), ("0.5", "3")])
call("round", "round({0}::numeric, {1}::int)", [("1.2345", "2"), ("-1.235", "2"), ("1235", "-1"), ("1.5", "0"), ("-2.5", "0"), ("5", "3"), ("555", "-3")])
call("trunc", "trunc({0}::numeric, {1}::int)", [("1.2389", "2"), ("-1.2389", "2"), ("1239", "-1")])
call("tsadd", "{0}::timestamp + {1}::interval", [("2001-01-31", "1 month"), ("2000-02-29", "1 year"), ("2001-01-01", "-1 day 2 hours"), ("2001-03-31", "-1 month"), ("294276-12-31", "1 day"), ("infinity", "1 day"), ("2001-01-31 10:00", "1 mon 1 day -01:00")])
call("tstzadd", "{0}::timestamptz + {1}::interval", [("2001-04-01 01:30", "1 hour"), ("2001-03-31 02:30", "1 day"), ("2001-10-27 01:30", "1 day"), ("2001-10-28 00:30", "2 hours"), ("2001-10-31", "1 month")], "TimeZone=America/New_York")
call("tssub", "{0}::timestamp - {1}::timestamp", [("2001-02-03", "2000-01-01 12:00"), ("2000-01-01", "2001-02-03 01:02:03.5")])
call("age", "age({0}::timestamp, {1}::timestamp)", [("2001-04-10", "1957-06-13"), ("2001-01-31", "2001-03-01"), ("2000-02-29", "2001-02-28 12:00"), ("2001-03-01", "2001-01-31"), ("1957-06-13", "2001-04-10 01:00")])
for f in "microseconds milliseconds second minute hour day week month quarter year decade century millennium dow isodow doy isoyear epoch julian timezone foo".split():
    call("extract", "date_part({0}, {1}::timestamp)" if False else f"extract({f} from {{0}}::timestamp)", [(t,) for t in ["2001-02-16 20:38:40.12", "0005-12-31 BC", "infinity"]], "field=" + f)
    call("extracti", f"extract({f} from {{0}}::interval)", [("-1 year 14 mons 3 days 04:05:06.789",), ("40 days 100 hours",)], "field=" + f)
    if f not in ("dow", "isodow", "doy", "isoyear", "epoch", "julian", "timezone", "foo"):
        call("trunc_ts", "date_trunc({0}, {1}::timestamp)", [(f, "2001-08-16 20:38:40.129"), (f, "0044-03-15 BC"), (f, "2001-01-01")])
        call("trunc_i", "date_trunc({0}, {1}::interval)", [(f, "123 years 7 mons 8 days 09:10:11.129")])
call("justify_hours", "justify_hours({0}::interval)", [("27 hours",), ("1 day -25 hours",), ("-1 day 30 hours",)])
call("justify_days", "justify_days({0}::interval)", [("35 days",), ("-1 month 45 days",)])
call("justify_interval", "justify_interval({0}::interval)", [("1 mon -1 hour",), ("-1 mon 35 days 30 hours",), ("100 days 100 hours",)])
call("imul", "{0}::interval * {1}::float8", [("1 mon", "0.3"), ("1 day 3:04:05", "2.5"), ("1 year 2 mons 3 days", "-1.7"), ("10 days", "1e10")])
call("idiv", "{0}::interval / {1}::float8", [("1 mon", "3"), ("1 year 2 mons 3 days 04:05:06", "7"), ("1 day", "0")])
call("make_date", "make_date({0}::int, {1}::int, {2}::int)", [("2001", "2", "3"), ("-44", "3", "15"), ("0", "1", "1"), ("2001", "2", "29")])
call("atzone", "{0}::timestamptz at time zone {1}", [("2001-02-16 20:38:40+00", "America/Denver"), ("2001-02-16 20:38:40+00", "EST"), ("2001-02-16 20:38:40+00", "+05:30"), ("2001-02-16 20:38:40+00", "UTC+3"), ("2001-02-16 20:38:40+00", "nope")])
call("jcmp", "({0}::jsonb > {1}::jsonb)", [("[]", "null"), ("{}", "[]"), ("[1,2]", "[3]"), ('{"a":1}', '{"b":0}'), ('"b"', '"aa"'), ("true", "1"), ('{"aa":1}', '{"b":1}')])
call("contains", "{0}::jsonb @> {1}::jsonb", [('{"a":1,"b":2}', '{"b":2}'), ("[1,[2]]", "[[2]]"), ("[1]", "1"), ('{"a":[1,2]}', '{"a":[1]}'), ('{"a":[1]}', '{"a":1}')])


def literal(s):
    return "$z$" + s + "$z$"


script = ["create or replace function pg_temp.try(q text) returns text language plpgsql as $f$ declare r text; begin execute q into r; return coalesce(r, 'NULL'); exception when others then return '!'||sqlstate||' '||sqlerrm; end $f$;"]
out = []
for kind, settings, args, sql in rows:
    script.append("reset datestyle; reset timezone; reset intervalstyle; reset extra_float_digits; reset bytea_output; set timezone='UTC'; set datestyle='ISO, MDY';")
    for s in filter(None, settings.split(";")):
        name, value = s.split("=", 1)
        if name != "field":
            script.append(f"set {name} = '{value}';")
    script.append(f"select replace(pg_temp.try({literal(sql)}), E'\\n', '\\n');")
psql = sys.argv[1].split() + ["-At", "-q"]
done = subprocess.run(psql, input="\n".join(script), capture_output=True, text=True)
answers = done.stdout.split("\n")[: len(rows)]
sys.stderr.write(done.stderr)
for (kind, settings, args, _), answer in zip(rows, answers):
    print("\t".join([kind, settings, "¦".join(args).replace("\n", "\\n"), answer]))

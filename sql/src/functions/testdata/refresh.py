#!/usr/bin/env python3
"""Asks PostgreSQL 15 again for the answers in expressions.txt: refresh.py PSQL-ARGUMENTS…  (e.g. -h /tmp -p 5555 postgres).

To add an expression, append a line `expression => ` and run this."""
import pathlib
import subprocess
import sys

path = pathlib.Path(__file__).with_name("expressions.txt")
lines = path.read_text().splitlines()
head = [l for l in lines if l.startswith("#")]
expressions = [l.rsplit(" =>", 1)[0] for l in lines if not l.startswith("#")]
sql = """set timezone='UTC';
create function pg_temp.try(e text) returns text language plpgsql as $$ declare t text; v text; begin
 execute 'select pg_typeof(x)::text, x::text from (select '||e||' as x) q' into t, v; return t||': '||coalesce(v,'NULL');
 exception when others then return '!'||sqlstate||' '||sqlerrm; end $$;
""" + "".join(f"select replace(pg_temp.try($e${e}$e$), chr(10), '\\n');\n" for e in expressions)
run = subprocess.run(["psql", "-XAtq", *sys.argv[1:]], input=sql, capture_output=True, text=True, check=True)
answers = run.stdout.split("\n")[:-1]
assert len(answers) == len(expressions), run.stderr
path.write_text("\n".join(head + [f"{e} => {a}" for e, a in zip(expressions, answers)]) + "\n")

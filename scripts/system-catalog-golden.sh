#!/usr/bin/env bash
# Writes sql/src/catalog/system/golden/postgres15.txt: what PostgreSQL 15 shows of golden/fixture.sql.
# Usage: scripts/system-catalog-golden.sh "host=127.0.0.1 port=5432 user=root"   (makes and drops the database "defaultdb")
set -euo pipefail
cd "$(dirname "$0")/../sql/src/catalog/system/golden"
server=$1
psql "$server dbname=postgres" -qX -c 'DROP DATABASE IF EXISTS defaultdb' -c 'CREATE DATABASE defaultdb'
sql() { psql "$server dbname=defaultdb" -qAtX -v ON_ERROR_STOP=1 "$@"; }
sql -f fixture.sql

# Whether a view can be written to differs: here none can.
# A table's rows without the columns that differ between servers, one a line, sorted.
table() { # name, condition, columns left out
  echo "-- $1 skip=$3"
  local columns
  columns=$(sql -c "SELECT string_agg(format('coalesce(%I::text, ''\\N'')', attname), ',' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = '$1'::regclass AND attnum > 0 AND attname <> ALL (string_to_array('$3', ','))")
  sql -c "SELECT translate(concat_ws('|', $columns), E'\n', '⏎') FROM $1 WHERE $2" | sed -E 's/[0-9]+_[0-9]+_([0-9]+_not_null)/\1/g' | LC_ALL=C sort
}
{
  here="attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 2200)"
  table pg_class "relnamespace = 2200" oid,reltype,relfilenode,relpages,reltuples,reltoastrelid,relfrozenxid,relminmxid
  table pg_attribute "$here AND attnum > 0" attrelid,attacl,attcacheoff,attoptions,attfdwoptions,attmissingval
  table pg_index "indrelid >= 16384 AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 2200)" indexrelid,indrelid,indpred
  table pg_constraint "connamespace = 2200" oid,conrelid,conindid,confrelid,conbin
  table pg_sequence true seqrelid
  for t in pg_tables pg_indexes pg_sequences; do table $t "schemaname = 'public'" hasrules; done
  for t in columns tables table_privileges column_privileges; do
    table information_schema.$t "table_schema = 'public'" is_updatable,is_insertable_into
  done
  table information_schema.views "table_schema = 'public'" view_definition,is_updatable,is_insertable_into
  table information_schema.sequences "sequence_schema = 'public'" x
  for t in table_constraints key_column_usage constraint_column_usage constraint_table_usage referential_constraints check_constraints; do
    table information_schema.$t "constraint_schema = 'public'" x
  done
  table information_schema.element_types "object_schema = 'public'" x
  table information_schema.column_column_usage "table_schema = 'public'" x
  table information_schema.view_table_usage "view_schema = 'public'" x
  echo "-- definitions"
  {
    sql -c "SELECT concat_ws('|', indexrelid::regclass, pg_get_indexdef(indexrelid), pg_get_indexdef(indexrelid, 0, true), pg_get_indexdef(indexrelid, 1, false))
      FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 2200"
    sql -c "SELECT concat_ws('|', conname, pg_get_constraintdef(oid), pg_get_constraintdef(oid, true)) FROM pg_constraint WHERE connamespace = 2200"
  } | LC_ALL=C sort
  echo "-- functions"
  for f in "abs(integer)" "make_interval(integer,integer,integer,integer,integer,integer,double precision)" \
    "percentile_cont(double precision,double precision)" "generate_series(integer,integer)" 'concat("any")' "jsonb_each(jsonb)" "int4in(cstring)"; do
    sql -c "SELECT concat_ws('|', oid::regproc, oid::regprocedure, pg_get_function_arguments(oid), pg_get_function_identity_arguments(oid), pg_get_function_result(oid))
      FROM (SELECT '$f'::regprocedure::oid) t(oid)"
  done
} > postgres15.txt
psql "$server dbname=postgres" -qX -c 'DROP DATABASE defaultdb'

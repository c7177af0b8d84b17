#!/usr/bin/env bash
# Writes sql/src/catalog/system/data/ from a running PostgreSQL 15: what of its catalog is the same in every database.
# Usage: scripts/system-catalog.sh "host=127.0.0.1 port=5432 user=root dbname=postgres"   (the superuser is to be named root)
set -euo pipefail
cd "$(dirname "$0")/.."
out=sql/src/catalog/system/data
run() { psql "$1" -qAtX -v ON_ERROR_STOP=1; }
conn=$1
types=$(grep -oE '^    \([0-9]+, "' sql/src/types/type_table.rs | tr -dc '0-9\n' | paste -sd,)
functions=$(cut -d' ' -f1 sql/src/functions/data/pg_proc.txt | paste -sd,)
operators=$(cut -d' ' -f1 sql/src/functions/data/pg_operator.txt | paste -sd,)

# Fields are separated by tabs, NULL is \N: COPY's text format, read by system/fixed.rs.
psql "$conn" -qAtX -v ON_ERROR_STOP=1 <<SQL
SET search_path = pg_temp, pg_catalog;
CREATE TEMP TABLE ty AS SELECT unnest(ARRAY[$types])::oid AS oid;
CREATE TEMP TABLE fn AS SELECT unnest(ARRAY[$functions])::oid AS oid;
CREATE TEMP TABLE op AS SELECT unnest(ARRAY[$operators])::oid AS oid;
-- Input and output functions belong to their types.
INSERT INTO fn SELECT DISTINCT f FROM pg_type t JOIN ty USING (oid),
  unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout]::oid[]) f WHERE f <> 0 AND f NOT IN (SELECT oid FROM fn);
CREATE TEMP TABLE named AS
  SELECT unnest(ARRAY[oprcode, oprrest, oprjoin]::oid[]) AS oid FROM pg_operator JOIN op USING (oid)
  UNION SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn]::oid[])
    FROM pg_aggregate WHERE aggfnoid IN (SELECT oid FROM fn)
  UNION SELECT castfunc FROM pg_cast WHERE castsource IN (SELECT oid FROM ty) AND casttarget IN (SELECT oid FROM ty)
  UNION SELECT amproc::oid FROM pg_amproc JOIN pg_opfamily f ON f.oid = amprocfamily WHERE opfmethod = 403
  UNION SELECT unnest(ARRAY[typsubscript, typanalyze]::oid[]) FROM pg_type JOIN ty USING (oid)
  UNION SELECT unnest(ARRAY[prosupport]::oid[]) FROM pg_proc JOIN fn USING (oid)
  UNION SELECT amhandler FROM pg_am WHERE amname IN ('heap', 'btree');

-- oid schema name kind type-oid columns: name:type:modifier:collation:notnull; domains are their base types.
\o $out/relations.txt
SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltype, string_agg(
    attname || ':' || CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END || CASE WHEN attnotnull THEN '!' ELSE '' END, ' ' ORDER BY attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 JOIN pg_type t ON t.oid = atttypid
WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v') AND relname !~ '^_pg_' AND relname NOT IN (
  -- Facts of a PostgreSQL server process or its files that do not exist here.
  'pg_config', 'pg_shmem_allocations', 'pg_backend_memory_contexts', 'pg_file_settings', 'pg_hba_file_rules', 'pg_ident_file_mappings',
  'pg_stat_bgwriter', 'pg_stat_archiver', 'pg_stat_wal', 'pg_stat_slru', 'pg_stat_ssl', 'pg_stat_gssapi',
  'pg_stat_database_conflicts', 'pg_stat_recovery_prefetch', 'pg_statistic', 'sql_features', 'sql_implementation_info', 'sql_parts', 'sql_sizing',
  -- Would need what the catalog does not keep: which columns and functions an expression uses.
  'view_column_usage', 'view_routine_usage', 'check_constraint_routine_usage', 'data_type_privileges', 'routine_privileges', 'role_routine_grants')
  AND relname !~ '^pg_statio_|^pg_stat_xact_|^pg_stat_sys_'
GROUP BY 1, 2, 3, 4, 5 ORDER BY n.nspname DESC, c.relname COLLATE "C";

\o $out/pg_proc.txt
COPY (SELECT p.oid, proname, procost, prorows, provariadic, prosupport::oid, prokind, proleakproof, proisstrict, proretset, provolatile, proparallel,
  pronargdefaults, prorettype, proargtypes, proallargtypes, proargmodes, proargnames, CASE WHEN prolang = 12 THEN prosrc ELSE proname END,
  CASE WHEN pronargdefaults > 0 THEN pg_get_function_arguments(p.oid) END
  FROM pg_proc p JOIN fn USING (oid) ORDER BY p.oid) TO STDOUT;
\o $out/proc_names.txt
COPY (SELECT p.oid, proname FROM pg_proc p WHERE oid IN (SELECT oid FROM named) AND oid NOT IN (SELECT oid FROM fn) ORDER BY 1) TO STDOUT;
\o $out/pg_type.txt
COPY (SELECT t.oid, typname, typlen, typbyval, typtype, typcategory, typispreferred, typdelim, typsubscript::oid, typelem, typarray, typinput::oid, typoutput::oid,
  typreceive::oid, typsend::oid, typmodin::oid, typmodout::oid, typanalyze::oid, typalign, typstorage, typcollation
  FROM pg_type t JOIN ty USING (oid) ORDER BY t.oid) TO STDOUT;
\o $out/pg_operator.txt
COPY (SELECT o.oid, oprname, 11, 10, oprkind, oprcanmerge, oprcanhash, oprleft, oprright, oprresult,
  CASE WHEN oprcom IN (SELECT oid FROM op) THEN oprcom ELSE 0 END, CASE WHEN oprnegate IN (SELECT oid FROM op) THEN oprnegate ELSE 0 END,
  oprcode::oid, oprrest::oid, oprjoin::oid FROM pg_operator o JOIN op USING (oid) ORDER BY o.oid) TO STDOUT;
\o $out/pg_aggregate.txt
COPY (SELECT aggfnoid::oid, aggkind, aggnumdirectargs, aggtransfn::oid, aggfinalfn::oid, aggcombinefn::oid, aggserialfn::oid, aggdeserialfn::oid, aggmtransfn::oid,
  aggminvtransfn::oid, aggmfinalfn::oid, aggfinalextra, aggmfinalextra, aggfinalmodify, aggmfinalmodify, aggsortop, aggtranstype, aggtransspace,
  aggmtranstype, aggmtransspace, agginitval, aggminitval FROM pg_aggregate WHERE aggfnoid IN (SELECT oid FROM fn) ORDER BY 1) TO STDOUT;
\o $out/pg_cast.txt
COPY (SELECT oid, castsource, casttarget, castfunc, castcontext, castmethod FROM pg_cast
  WHERE castsource IN (SELECT oid FROM ty) AND casttarget IN (SELECT oid FROM ty) ORDER BY 1) TO STDOUT;
\o $out/pg_am.txt
COPY (SELECT oid, amname, amhandler::oid, amtype FROM pg_am WHERE amname IN ('heap', 'btree') ORDER BY 1) TO STDOUT;
\o $out/pg_opclass.txt
COPY (SELECT oid, opcmethod, opcname, opcnamespace, opcowner, opcfamily, opcintype, opcdefault, opckeytype FROM pg_opclass
  WHERE opcmethod = 403 AND opcintype IN (SELECT oid FROM ty) ORDER BY 1) TO STDOUT;
CREATE TEMP TABLE fam AS SELECT DISTINCT opcfamily AS oid FROM pg_opclass WHERE opcmethod = 403 AND opcintype IN (SELECT oid FROM ty);
\o $out/pg_opfamily.txt
COPY (SELECT f.* FROM pg_opfamily f JOIN fam USING (oid) ORDER BY 1) TO STDOUT;
\o $out/pg_amop.txt
COPY (SELECT o.* FROM pg_amop o JOIN fam ON fam.oid = amopfamily WHERE amopopr IN (SELECT oid FROM op) ORDER BY 1) TO STDOUT;
\o $out/pg_amproc.txt
COPY (SELECT p.oid, amprocfamily, amproclefttype, amprocrighttype, amprocnum, amproc::oid FROM pg_amproc p JOIN fam ON fam.oid = amprocfamily
  WHERE amproclefttype IN (SELECT oid FROM ty) AND amprocrighttype IN (SELECT oid FROM ty) ORDER BY 1) TO STDOUT;
\o $out/pg_description.txt
COPY (SELECT objoid, classoid, objsubid, description FROM pg_description WHERE
  (classoid = 'pg_proc'::regclass AND objoid IN (SELECT oid FROM fn)) OR (classoid = 'pg_operator'::regclass AND objoid IN (SELECT oid FROM op))
  OR (classoid = 'pg_type'::regclass AND objoid IN (SELECT oid FROM ty)) OR (classoid = 'pg_am'::regclass AND objoid IN (2, 403))
  OR (classoid = 'pg_namespace'::regclass AND objoid = 11) OR (classoid = 'pg_collation'::regclass AND objoid IN (100, 950, 951))
  OR (classoid = 'pg_language'::regclass AND objoid = 12) ORDER BY 2, 1, 3) TO STDOUT;
SQL

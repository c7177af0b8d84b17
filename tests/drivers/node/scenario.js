// node-postgres against one server: `node scenario.js HOST PORT USER DATABASE`, NODE_PATH naming the node_modules that hold pg, pg-cursor
// and pg-copy-streams. Prints a line per check; exits 1 if any failed.
'use strict';
const assert = require('assert');
const { Client, Pool, types } = require('pg');
const Cursor = require('pg-cursor');
const { from: copyFrom, to: copyTo } = require('pg-copy-streams');
const { pipeline } = require('stream/promises');
const { Readable, Writable } = require('stream');

const [host, port, user, database] = process.argv.slice(2);
const config = { host, port: Number(port), user, database };
const checks = [];
const check = (name, run) => checks.push([name, run]);

async function connected(run, more = {}) {
  const client = new Client({ ...config, ...more });
  await client.connect();
  try {
    return await run(client);
  } finally {
    await client.end();
  }
}

async function expect(code, promise) {
  try {
    await promise;
  } catch (error) {
    assert.strictEqual(error.code, code, `${error.code} ${error.message}, expected ${code}`);
    return error;
  }
  throw new Error(`no error, expected ${code}`);
}

// Type, parameter, what comes back (node-postgres leaves int8 and numeric as text).
const values = [
  ['bool', true, true],
  ['bool', false, false],
  ['int2', -32768, -32768],
  ['int4', 2147483647, 2147483647],
  ['int8', '-9223372036854775808', '-9223372036854775808'],
  ['float4', 1.5, 1.5],
  ['float8', 0.1, 0.1],
  ['numeric', '12345678901234567890.0123456789', '12345678901234567890.0123456789'],
  ['text', 'Grüße, 世界 \' \\ " \n', 'Grüße, 世界 \' \\ " \n'],
  ['text', '', ''],
  ['varchar', 'abc', 'abc'],
  ['bytea', Buffer.from([0, 1, 255, 92]), Buffer.from([0, 1, 255, 92])],
  ['timestamptz', new Date('2024-02-29T12:34:56.789Z'), new Date('2024-02-29T12:34:56.789Z')],
  ['uuid', '12345678-1234-5678-1234-567812345678', '12345678-1234-5678-1234-567812345678'],
  ['json', { a: [1, null] }, { a: [1, null] }],
  ['jsonb', { a: { b: 'x' } }, { a: { b: 'x' } }],
  ['int4[]', [1, 2, null], [1, 2, null]],
  ['text[]', ['a', 'b"c', 'NULL', '', '{}', '\\', null], ['a', 'b"c', 'NULL', '', '{}', '\\', null]],
  ['int4[]', [[1, 2], [3, 4]], [[1, 2], [3, 4]]],
  ['date', '2024-02-29', '2024-02-29'],
  ['time', '23:59:59.999999', '23:59:59.999999'],
  ['timestamp', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012'],
  ['interval', '1 year 2 mons -3 days 04:05:06.7', { years: 1, months: 2, days: -3, hours: 4, minutes: 5, seconds: 6, milliseconds: 700 }],
];
types.setTypeParser(1082, (text) => text);
types.setTypeParser(1114, (text) => text);

check('every type as text', () => connected(async (client) => {
  for (const [type, given, expected] of values) {
    const { rows, fields } = await client.query(`SELECT $1::${type} AS v`, [given]);
    assert.deepStrictEqual(typeof rows[0].v === 'object' && type === 'interval' ? { ...rows[0].v } : rows[0].v, expected, type);
    assert.strictEqual(fields[0].name, 'v');
    assert.strictEqual((await client.query(`SELECT $1::${type} AS v`, [null])).rows[0].v, null);
  }
}));

check('binary results', () => connected(async (client) => {
  const { rows } = await client.query({ text: "SELECT 1::int4 AS a, 2::int2 AS b, 1.5::float8 AS c, true AS d, 'x'::text AS e, '\\x0001'::bytea AS f", binary: true, values: [] });
  assert.deepStrictEqual(rows[0], { a: 1, b: 2, c: 1.5, d: true, e: 'x', f: Buffer.from([0, 1]) });
}));

check('prepared statements', () => connected(async (client) => {
  for (let n = 0; n < 20; n++) {
    const { rows } = await client.query({ name: 'next', text: 'SELECT $1::int + 1 AS n', values: [n] });
    assert.strictEqual(rows[0].n, n + 1);
  }
  await assert.rejects(client.query({ name: 'next', text: 'SELECT 2' }), /Prepared statements must be unique/);
  assert.deepStrictEqual((await client.query({ text: 'SELECT 1, 2', rowMode: 'array' })).rows, [[1, 2]]);
}));

check('transactions and savepoints', () => connected(async (client) => {
  await client.query('DROP TABLE IF EXISTS node_txn');
  await client.query('CREATE TABLE node_txn (a int PRIMARY KEY)');
  await client.query('BEGIN');
  const inserted = await client.query('INSERT INTO node_txn VALUES ($1), ($2) RETURNING a', [1, 2]);
  assert.deepStrictEqual([inserted.command, inserted.rowCount, inserted.rows], ['INSERT', 2, [{ a: 1 }, { a: 2 }]]);
  await client.query('SAVEPOINT s');
  const error = await expect('23505', client.query('INSERT INTO node_txn VALUES (1)'));
  assert.deepStrictEqual([error.constraint, error.table, error.schema], ['node_txn_pkey', 'node_txn', 'public']);
  assert.strictEqual(error.detail, 'Key (a)=(1) already exists.');
  await expect('25P02', client.query('SELECT 1'));
  await client.query('ROLLBACK TO s');
  await client.query('INSERT INTO node_txn VALUES (3)');
  await client.query('COMMIT');
  assert.strictEqual((await client.query('SELECT count(*)::int AS n FROM node_txn')).rows[0].n, 3);
}));

check('copy in and out', () => connected(async (client) => {
  await client.query('DROP TABLE IF EXISTS node_copy');
  await client.query('CREATE TABLE node_copy (a int, b text)');
  const lines = Array.from({ length: 5000 }, (_, n) => `${n}\t${n % 7 ? 'text ' + n : '\\N'}\n`);
  const into = client.query(copyFrom('COPY node_copy FROM STDIN'));
  await pipeline(Readable.from(lines), into);
  assert.strictEqual(into.rowCount, 5000);
  const chunks = [];
  await pipeline(client.query(copyTo('COPY (SELECT * FROM node_copy ORDER BY a) TO STDOUT')), new Writable({ write(c, _, done) { chunks.push(c); done(); } }));
  assert.strictEqual(Buffer.concat(chunks).toString(), lines.join(''));
  await assert.rejects(pipeline(Readable.from(['x\ty\n']), client.query(copyFrom('COPY node_copy FROM STDIN'))), (e) => e.code === '22P02');
  assert.strictEqual((await client.query('SELECT count(*)::int AS n FROM node_copy')).rows[0].n, 5000);
}));

check('cursors', () => connected(async (client) => {
  const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::int) AS n', [1000]));
  let sum = 0;
  for (;;) {
    const rows = await cursor.read(100);
    if (rows.length === 0) break;
    sum += rows.reduce((all, row) => all + row.n, 0);
  }
  assert.strictEqual(sum, 500500);
  await cursor.close();
  const early = client.query(new Cursor('SELECT generate_series(1, 100000) AS n'));
  assert.strictEqual((await early.read(10)).length, 10);
  await early.close();
  assert.strictEqual((await client.query('SELECT 1 AS one')).rows[0].one, 1);
}));

check('cancel', () => connected(async (client) => {
  const begin = Date.now();
  const sleeping = expect('57014', client.query('SELECT pg_sleep(20)'));
  await new Promise((done) => setTimeout(done, 200));
  await connected((other) => other.query('SELECT pg_cancel_backend($1)', [client.processID]));
  await sleeping;
  const again = expect('57014', client.query('SELECT pg_sleep(20)'));
  await new Promise((done) => setTimeout(done, 200));
  // The cancel request of the protocol, by its bytes.
  const packet = Buffer.alloc(16);
  [16, 80877102, client.processID, client.secretKey].forEach((word, at) => packet.writeInt32BE(word, at * 4));
  require('net').connect(config.port, host, function () { this.end(packet); });
  await again;
  assert.ok(Date.now() - begin < 10000);
  assert.strictEqual((await client.query('SELECT 1 AS one')).rows[0].one, 1);
}));

check('error codes', () => connected(async (client) => {
  for (const [code, text] of [['42601', 'SELEC 1'], ['42P01', 'SELECT * FROM nowhere'], ['42703', 'SELECT nonsense'], ['22012', 'SELECT 1/0'], ['42883', 'SELECT nofunction(1)']]) {
    await expect(code, client.query(text));
    await expect(code, client.query({ text, values: [], queryMode: 'extended' }));
  }
  assert.strictEqual((await expect('42601', client.query('SELECT 1 FRM x y'))).position, '14');
  await expect('22P02', client.query('SELECT $1::int', ['x']));
  await expect('08P01', client.query('SELECT $1::int', [1, 2]));
  await expect('3D000', connected(() => {}, { database: 'nosuchdatabase' }));
}));

check('notices', () => connected(async (client) => {
  const seen = [];
  client.on('notice', (notice) => seen.push([notice.severity, notice.code, notice.message]));
  await client.query('DROP TABLE IF EXISTS node_none');
  assert.deepStrictEqual(seen, [['NOTICE', '00000', 'table "node_none" does not exist, skipping']]);
}));

check('connection parameters', async () => {
  await connected(async (client) => {
    assert.strictEqual((await client.query('SHOW application_name')).rows[0].application_name, 'node scenario');
    assert.strictEqual((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '5s');
    assert.strictEqual((await client.query('SHOW lock_timeout')).rows[0].lock_timeout, '3s');
  }, { application_name: 'node scenario', statement_timeout: 5000, lock_timeout: 3000, idle_in_transaction_session_timeout: 60000, options: '-c search_path=public' });
});

check('many statements in one query', () => connected(async (client) => {
  const results = await client.query('SELECT 1 AS a; SELECT 2 AS b, 3 AS c; SET application_name = x');
  assert.deepStrictEqual(results.map((r) => r.rows), [[{ a: 1 }], [{ b: 2, c: 3 }], []]);
  assert.strictEqual((await client.query('')).rows.length, 0);
}));

check('a pool', async () => {
  const pool = new Pool({ ...config, max: 8 });
  const results = await Promise.all(Array.from({ length: 100 }, (_, n) => pool.query('SELECT $1::int AS n', [n])));
  assert.deepStrictEqual(results.map((r) => r.rows[0].n), Array.from({ length: 100 }, (_, n) => n));
  await pool.end();
});

(async () => {
  let failed = 0;
  for (const [name, run] of checks) {
    const begin = Date.now();
    let timer;
    try {
      await Promise.race([run(), new Promise((_, no) => { timer = setTimeout(() => no(new Error('60 seconds passed')), 60000); })]);
      console.log(`ok     ${name} (${Date.now() - begin} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${name}\n${error.stack}`);
    } finally {
      clearTimeout(timer);
    }
  }
  process.exit(failed ? 1 : 0);
})();

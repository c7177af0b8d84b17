# What is measured at servers, for scripts/bench-compare and scripts/marks: source it after scripts/servers.sh, do not run it.
#   psql_at PORT OPTION…                         psql that stops at an error
#   cpu_ms NAME…                                 milliseconds of CPU that the processes of these servers have used, those that have ended included
#   spread PORT                                  makes the table of 10,000 rows that single rows are updated in; $servers/spread.sql updates one
#   syncs PORT CLIENTS PIDS…                     SYNCS-A-COMMIT COMMITS and the syncs of each server, whose processes are one word
#   pss NAME…, settled_pss NAME…                 KiB of memory
#   idle_connections PORT NAMES COUNT            MiB that COUNT idle connections take: their difference, before, after
#   tpcc_run FILE RAMP NAMES OPTION…             a run of RAMP seconds and then what OPTIONs say; figures to FILE, ms of CPU after the ramp to FILE.cpu
#   tpcc_figures FILE, tpcc_percentiles FILE     what a run did
#   tpcc_cpu FILE                                milliseconds of CPU of a transaction
#   json_line FILE NUMBERS KEY VALUE …           a line of JSON; values of the keys among NUMBERS are numbers
json_line() {
  python3 - "$@" <<'PY'
import json, sys
file, numbers, words = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
def typed(key, text):
    if key not in numbers: return text
    try: return float(text)
    except ValueError: return text
with open(file, "a") as out: out.write(json.dumps({k: typed(k, v) for k, v in zip(words[::2], words[1::2])}) + "\n")
PY
}

psql_at() { local port=$1; shift; psql -q -X -v ON_ERROR_STOP=1 "$(url "$port")" "$@"; }

cpu_ms() {
  local name
  # shellcheck disable=SC2046
  python3 - $(for name in "$@"; do pids_of "$name"; done) <<'PY'
import os, sys
tick = 1000 / os.sysconf("SC_CLK_TCK")
total = 0.0
for pid in sys.argv[1:]:
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        own = sum(map(int, fields[11:13])) * tick
        # A tick is much for a process that serves one connection: where there is but one thread, the scheduler knows it to the nanosecond.
        if len(os.listdir(f"/proc/{pid}/task")) == 1: own = int(open(f"/proc/{pid}/schedstat").read().split()[0]) / 1e6
        total += own + sum(map(int, fields[13:15])) * tick
    # One that ends just now: its parent has its time.
    except (FileNotFoundError, ProcessLookupError): pass
print(f"{total:.1f}")
PY
}

# --- syncs ---------------------------------------------------------------------------------------------------------------------------------------
printf '%s\n' '\set id random(1, 10000)' 'update spread set n = n + 1 where id = :id;' >"$servers/spread.sql"
spread() { psql_at "$1" -c 'create table spread (id int primary key, n int not null)' -c 'insert into spread select g, 0 from generate_series(1, 10000) g'; }

# Commits of single-row updates, and the fsync, fdatasync and sync_file_range calls of each server that took part in them, counted by strace.
# With one client nothing can share a sync, so fewer syncs than commits on any needed disk would mean that commits are not durable.
attached() { local pid task; for pid in "$@"; do for task in /proc/"$pid"/task/*; do [ "$(awk '/TracerPid/ {print $2}' "$task/status" 2>/dev/null || echo 0)" != 0 ] || return 1; done; done; }
syncs() {
  local port=$1 n=$2 line commits count total=0 parts="" tracers=() i pids; shift 2
  local lines=("$@")
  for i in "${!lines[@]}"; do
    read -r -a pids <<<"${lines[$i]}"
    # shellcheck disable=SC2046
    strace -c -f -qq -e trace=fsync,fdatasync,sync_file_range -o "$servers/syncs.$i" $(printf -- '-p %s ' "${pids[@]}") 2>/dev/null &
    tracers+=($!)
    for _ in $(seq 100); do attached "${pids[@]}" && break; sleep 0.1; done
  done
  line=$("$pg/pgbench" -n -c "$n" -j 1 -t $((400 / n)) -M prepared --max-tries=1000 -f "$servers/spread.sql" -h 127.0.0.1 -p "$port" -U root defaultdb 2>&1) ||
    { echo "$line" >&2; kill -INT "${tracers[@]}"; return 1; }
  commits=$(awk '/actually processed/ {split($6, a, "/"); print a[1]}' <<<"$line")
  kill -INT "${tracers[@]}"
  wait "${tracers[@]}" 2>/dev/null || true
  for i in "${!lines[@]}"; do
    count=$(awk '$NF ~ /sync/ {n += $4} END {print n + 0}' "$servers/syncs.$i")
    total=$((total + count)) parts="$parts${parts:+ + }$count"
  done
  echo "$(awk "BEGIN {printf \"%.2f\", $total / $commits}") $commits $parts"
}

# --- memory --------------------------------------------------------------------------------------------------------------------------------------
# Proportional set size of all processes of servers, in KiB: shared memory counts once.
pss() {
  local name pid total=0 kib
  for name in "$@"; do for pid in $(pids_of "$name"); do kib=$(awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0); total=$((total + ${kib:-0})); done; done
  echo "$total"
}
# The same, once it stays within a MiB for ten seconds (a minute at most): what servers that just started and loaded free again is no part of what
# comes then.
settled_pss() {
  local before now _
  before=$(pss "$@")
  for _ in 1 2 3 4 5 6; do
    sleep 10
    now=$(pss "$@")
    [ $((now - before)) -gt 1024 ] || [ $((before - now)) -gt 1024 ] || break
    before=$now
  done
  echo "$now"
}
# Each of the connections ran one statement, and one in a hundred goes on running one a second. Needs the table spread.
idle_connections() {
  local port=$1 names=$2 count=$3 before after holder ready=""
  # shellcheck disable=SC2086
  before=$(settled_pss $names)
  # It holds them until its input ends, which it does with this shell at the latest.
  coproc HOLD { exec python3 -c "$hold_connections" "$port" "$count" 2>&1; }
  holder=$HOLD_PID
  read -r -t 120 ready <&"${HOLD[0]}" || true
  if [ "$ready" != ready ]; then kill "$holder" 2>/dev/null || true; echo "$count connections were not all let in: $ready" >&2; return 1; fi
  sleep 3
  # shellcheck disable=SC2086
  after=$(pss $names)
  awk "BEGIN {print ($after - $before) / 1024, int($before / 1024), int($after / 1024)}"
  kill "$holder" 2>/dev/null || true
  wait "$holder" 2>/dev/null || true
}
hold_connections='
import socket, struct, sys, time, threading
port, count = int(sys.argv[1]), int(sys.argv[2])
hello = b"user\0root\0database\0defaultdb\0\0"
statement = b"select n from spread where id = 1\0"
query = b"Q" + struct.pack("!I", 4 + len(statement)) + statement
def ready(s):
    data = b""
    while not data.endswith(b"Z\0\0\0\x05I"):
        more = s.recv(4096)
        if not more or data.startswith(b"E"): sys.exit("refused: " + repr(data + more))
        data += more
    if b"SERROR\0" in data or b"SFATAL\0" in data: sys.exit(repr(data))
socks = []
for _ in range(count):
    s = socket.create_connection(("127.0.0.1", port)); s.settimeout(60)
    s.sendall(struct.pack("!II", 8 + len(hello), 196608) + hello); ready(s)
    s.sendall(query); ready(s); socks.append(s)
def busy():
    while True:
        for s in socks[::100]: s.sendall(query); ready(s)
        time.sleep(1)
threading.Thread(target=busy, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
'

# --- TPC-C ---------------------------------------------------------------------------------------------------------------------------------------
tpcc_run() {
  local file=$1 ramp=$2 names=$3 before; shift 3
  rm -f "$file"
  # shellcheck disable=SC2086
  client_up tpcc $workload tpcc run --ramp "${ramp}s" --json "$file" "$@" >"$file.out" 2>&1
  sleep "$ramp"
  # shellcheck disable=SC2086
  before=$(cpu_ms $names)
  gone "$(pids_of tpcc)"
  client_gone tpcc
  # shellcheck disable=SC2086
  awk "BEGIN {print $(cpu_ms $names) - $before}" >"$file.cpu"
  # Transactions that failed are in the figures; without figures nothing is.
  [ -s "$file" ] || { tail -n 5 "$file.out" >&2; return 1; }
}
# TPMC RETRIES FAILED TRANSACTIONS, and within or beyond the percentile limits. A delivery counts when it is run, not when it is queued.
tpcc_figures() {
  python3 - "$1" <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
kinds = run["summary"]["kinds"]
total = lambda what: sum(sum(k[what].values()) for k in kinds)
print(run["tpmc"], total("retries"), total("errors"), sum(k["count"] for k in kinds if k["name"] != "delivery"), "within" if run["within_limits"] else "beyond")
PY
}
tpcc_cpu() { local figures; read -r -a figures <<<"$(tpcc_figures "$1")"; awk "BEGIN {print $(cat "$1.cpu") / (${figures[3]} > 0 ? ${figures[3]} : 1)}"; }
tpcc_percentiles() {
  python3 - "$1" <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
shown = ", ".join(f"{k['name']} {k['p90_ms']:.1f}" for k in run["summary"]["kinds"])
reached = f", {run['efficiency']:.1f} % of the most that is possible" if run.get("efficiency") else ""
print(f"90th percentiles in ms: {shown}: {'all within' if run['within_limits'] else 'NOT all within'} the limits of 5.2.5.7 and 2.7.2{reached}")
PY
}

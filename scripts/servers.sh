# Servers side by side, for scripts/bench, bench-compare, marks and tpcc-kill: source it (after scripts/env.sh), do not run it.
# What it starts has its data in $servers, a new directory, and is stopped, and the directory removed, when the script ends, however it ends.
#   postgres_up NAME PORT [-c setting=value…]     a PostgreSQL 15 of its own, database defaultdb, user root
#   standby_up NAME PORT PRIMARY_PORT             a standby of it, under the name NAME
#   meridian_up NAME PORT [OPTION…]               one node (SQL on PORT, HTTP on PORT+1)
#   cluster_up NAME PORT [OPTION…]                nodes (SQL on PORT, PORT+10, PORT+20, …): three without distance, if no option says otherwise
#   node_kill NAME                                kill -9 of a single node; meridian_up with the same words starts it again on its data
#   server_down NAME                              stops one of them
#   client_up NAME COMMAND…                       a client in the background, said to be gone by client_gone NAME; stopped like the servers
#   pids_of NAME                                  its processes, one server process group a line
# Everything fsyncs: the settings are those that the servers come with.
# $meridian is the binary: MERIDIAN_BINARY, or else what a release build gives. $workload is the client: WORKLOAD_BINARY, or else the same binary's.
pg=/usr/lib/postgresql/15/bin
if [ -z "${meridian:-}" ]; then
  [ -n "${MERIDIAN_BINARY:-}" ] || cargo build --release --bin meridian >&2
  meridian="${MERIDIAN_BINARY:-$CARGO_TARGET_DIR/release/meridian}"
fi
workload="${WORKLOAD_BINARY:-$meridian workload}"
servers="$(mktemp -d /tmp/meridian-servers.XXXXXX)"
chmod 755 "$servers"
mkdir "$servers/up"

as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

all_down() { local name; for name in $(ls -r "$servers/up" 2>/dev/null); do server_down "${name#*.}" || true; done; }

servers_down() {
  all_down
  wait 2>/dev/null || true
  rm -rf "$servers"
}
trap servers_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

note_up() { # kind, name, detail: in the order of starting, so that the last is stopped first
  printf '%s %s\n' "$1" "$3" >"$servers/up/$(printf '%03d' "$(ls "$servers/up" | wc -l)").$2"
}

server_down() {
  local file kind detail
  file=$(ls "$servers"/up/*."$1" 2>/dev/null) || return 0
  read -r kind detail <"$file"
  case "$kind" in
    postgres) as_postgres "$pg/pg_ctl" -D "$servers/$1" -m immediate -w stop >/dev/null 2>&1 || true ;;
    node | client) kill "$detail" 2>/dev/null || true; gone "$detail" ;;
    cluster) "$meridian" cluster down --dir "$servers/$1" >/dev/null 2>&1 || true ;;
  esac
  rm -rf "$file" "${servers:?}/$1"
}

# Waits for a process to end, whoever started it.
gone() { wait "$1" 2>/dev/null || true; while kill -0 "$1" 2>/dev/null; do sleep 0.1; done; }

client_up() { local name=$1; shift; "$@" & note_up client "$name" $!; }
client_gone() { rm -f "$servers"/up/*."$1"; }

node_kill() { local pid; pid=$(pids_of "$1"); kill -9 "$pid"; gone "$pid"; rm -f "$servers"/up/*."$1"; }

postgres_dir() { mkdir "$servers/$1"; if [ "$(id -u)" = 0 ]; then chown postgres "$servers/$1"; fi; chmod 700 "$servers/$1"; }

postgres_start() { # name, port, options…
  local name=$1 port=$2; shift 2
  note_up postgres "$name" "$port"
  as_postgres "$pg/pg_ctl" -D "$servers/$name" -w -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_wal_size=4GB $*" -l "$servers/$name/log" start >/dev/null ||
    { cat "$servers/$name/log" >&2; return 1; }
}

postgres_up() {
  local name=$1 port=$2; shift 2
  postgres_dir "$name"
  as_postgres "$pg/initdb" -D "$servers/$name" -A trust -U root --no-sync >/dev/null
  # initdb's own files were not synced; everything after them is.
  sync -f "$servers/$name"
  postgres_start "$name" "$port" "$@"
  "$pg/createdb" -h 127.0.0.1 -p "$port" -U root defaultdb
}

standby_up() {
  local name=$1 port=$2 primary=$3; shift 3
  postgres_dir "$name"
  as_postgres "$pg/pg_basebackup" -D "$servers/$name" -R -X stream -c fast -d "host=127.0.0.1 port=$primary user=root application_name=$name"
  postgres_start "$name" "$port" "$@"
}

meridian_up() {
  local name=$1 port=$2 pid; shift 2
  MERIDIAN_LOG=warn "$meridian" start-single-node --data-dir "$servers/$name" --listen "127.0.0.1:$port" --http "127.0.0.1:$((port + 1))" --insecure "$@" 2>>"$servers/$name.log" &
  pid=$!
  note_up node "$name" "$pid"
  until curl -sf "http://127.0.0.1:$((port + 1))/health/ready" >/dev/null; do
    sleep 0.1
    kill -0 "$pid" 2>/dev/null || { cat "$servers/$name.log" >&2; return 1; }
  done
}

cluster_up() {
  local name=$1 port=$2; shift 2
  [ $# -gt 0 ] || set -- --regions here --nodes-per-region 3 --no-latency
  note_up cluster "$name" "$port"
  MERIDIAN_LOG=warn "$meridian" cluster up --dir "$servers/$name" --base-port "$port" "$@" >/dev/null 2>"$servers/$name.log" ||
    { cat "$servers/$name.log" >&2; return 1; }
}

pids_of() {
  local file kind detail first
  file=$(ls "$servers"/up/*."$1")
  read -r kind detail <"$file"
  case "$kind" in
    postgres) first=$(head -n 1 "$servers/$1/postmaster.pid"); echo "$first" $(pgrep -P "$first") ;;
    node | client) echo "$detail" ;;
    cluster) "$meridian" cluster status --dir "$servers/$1" | awk '$3 == "ready" {print $NF}' ;;
  esac
}

url() { echo "host=127.0.0.1 port=$1 user=root dbname=defaultdb"; }

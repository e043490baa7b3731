#!/bin/sh
# Samples a server and draws where its time goes: target/flamegraph.svg, to be opened in a browser.
#
#   tools/flamegraph.sh                 starts a server below target/, loads it with writes, indexing and searches
#   tools/flamegraph.sh PID [SECONDS]   samples a server that runs, 10 seconds unless told otherwise
set -eu

BINARY=target/release/broadhead
OUTPUT=target/flamegraph.svg
# A prime rate, so that samples do not fall into step with what happens every millisecond.
SAMPLES_PER_SECOND=997
# Without frame pointers perf keeps a piece of the stack, and unwinds it afterwards by the tables in the binary.
STACK_BYTES=16384
INFERNO_VERSION=0.12.8
INFERNO=target/inferno/bin

fail() {
    printf 'flamegraph: %s\n' "$1" >&2
    exit 1
}

cd "$(dirname "$0")/.."

case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
pid=${1:-}
seconds=${2:-10}
case "$pid$seconds" in *[!0-9]*) fail "PID and SECONDS are numbers, see --help" ;; esac

command -v perf >/dev/null 2>&1 || fail "perf is missing: apt-get install linux-perf | dnf install perf | pacman -S perf"
paranoid=$(cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null || echo 0)
if [ "$(id -u)" != 0 ] && [ "$paranoid" -gt 2 ]; then
    fail "this user may not use perf (kernel.perf_event_paranoid is $paranoid): sudo sysctl -w kernel.perf_event_paranoid=2"
fi
[ -z "$pid" ] || kill -0 "$pid" 2>/dev/null || fail "there is no process $pid that this user may look at"

if [ ! -x "$INFERNO/inferno-flamegraph" ]; then
    echo "flamegraph: installing inferno $INFERNO_VERSION below target/ (once)" >&2
    cargo install --quiet --locked --root target/inferno --version "$INFERNO_VERSION" inferno
fi

work=$(mktemp -d target/flamegraph.XXXXXX)
server=
load=
finish() {
    [ -z "$load" ] || kill $load 2>/dev/null || true
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -z "$pid" ]; then
    [ -x "$BINARY" ] || fail "$BINARY is missing: make build"
    "$BINARY" serve --data "$work/data" --listen 127.0.0.1:0 --admin off --port-file "$work/port" --log error >/dev/null &
    server=$!
    pid=$server
    tries=0
    until [ -s "$work/port" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 100 ] && kill -0 "$server" 2>/dev/null || fail "the server did not start"
        sleep 0.1
    done
    BROADHEAD_SERVER=127.0.0.1:$(cat "$work/port")
    export BROADHEAD_SERVER
    # The load is on before the first sample and still on at the last one.
    "$BINARY" bench ingest --rows 20000 --dim 384 --batch-rows 1000 --connections 2 --keep --collection load >/dev/null
    "$BINARY" bench ingest --rows 20000 --dim 384 --batch-rows 500 --rate 10000 --seconds $((seconds + 2)) >/dev/null &
    load=$!
    "$BINARY" bench search --collection load --connections 2 --seconds $((seconds + 2)) >/dev/null &
    load="$load $!"
fi

echo "flamegraph: sampling process $pid for $seconds s" >&2
perf record --quiet -e cpu-clock -F "$SAMPLES_PER_SECOND" --call-graph "dwarf,$STACK_BYTES" -p "$pid" \
    -o "$work/perf.data" -- sleep "$seconds" || fail "perf could not sample the process (see above)"
perf script --no-inline -i "$work/perf.data" >"$work/stacks" 2>"$work/perf.log" ||
    fail "perf could not read its samples: $(tail -n 1 "$work/perf.log")"
"$INFERNO/inferno-collapse-perf" --quiet <"$work/stacks" >"$work/folded"
[ -s "$work/folded" ] || fail "no sample was taken: the process slept for $seconds s"
"$INFERNO/inferno-flamegraph" --title "broadhead, $seconds s at $SAMPLES_PER_SECOND samples a second" --countname ns \
    <"$work/folded" >"$OUTPUT"
cp "$work/folded" target/flamegraph.folded
echo "flamegraph: $OUTPUT (stacks as text: target/flamegraph.folded)" >&2

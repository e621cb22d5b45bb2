#!/usr/bin/env bash
# The restore drill: a server under load is killed and its data directory removed; a new one is restored over the bucket. Every
# message of the last flush has to be there once, offsets without a gap, and sends go on. Prints what was lost and how long it took.
#   e2e/restore-drill.sh [binary]        (go build -o bin/varve ./cmd/varve)
set -euo pipefail
bin=${1:-$(dirname "$0")/../bin/varve}
dir=$(mktemp -d)
http=127.0.0.1:28182
export VARVE_SERVER=$http VARVE_ARCHIVE_DIR=$dir/bucket VARVE_LOG_LEVEL=error VARVE_HOT_MIN_FREE=64MiB \
	VARVE_ROUTE_LISTEN=127.0.0.1:28176 VARVE_BROKER_LISTEN=127.0.0.1:28111 VARVE_GRPC_LISTEN=127.0.0.1:28181 \
	VARVE_MQHTTP_LISTEN=127.0.0.1:28183 VARVE_HISTORY_LISTEN=127.0.0.1:28115 VARVE_HTTP_LISTEN=$http VARVE_BROKER_VIP=false
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
up() {
	env -u VARVE_SERVER "$bin" server --data-dir "$1" >"$dir/log" 2>&1 &
	pids+=($!)
	for _ in $(seq 300); do curl -fs "http://$http/readyz" >/dev/null && return; sleep 0.1; done
	cat "$dir/log"
	exit 1
}
sql() { "$bin" sql "$1" -o csv 2>/dev/null | tail -1; }
send() { seq "$1" "$2" | "$bin" message send drill --lines >/dev/null; }

up "$dir/a"
server=${pids[-1]}
echo 0 >"$dir/acked"
(n=0; while send $((n + 1)) $((n + 500)) 2>/dev/null; do n=$((n + 500)); echo "$n" >"$dir/acked"; done) &
pids+=($!)
kept=0
for _ in 1 2 3 4; do
	sleep 2
	n=$(cat "$dir/acked")
	"$bin" archive flush >/dev/null
	kept=$n # all of them were acked before the flush began
done
sleep 1
acked=$(cat "$dir/acked")
kill -9 "$server"
rm -rf "$dir/a"
wait 2>/dev/null || true
echo "killed and its disk removed: $acked messages acked, $kept of them before the last flush"

began=$(date +%s%N)
env -u VARVE_SERVER "$bin" archive restore --data-dir "$dir/b"
up "$dir/b"
echo "serving again after $((($(date +%s%N) - began) / 1000000)) ms"
have=$(sql "select count(*) from drill")
once=$(sql "select count(distinct body_text) from drill where cast(body_text as bigint) <= $kept")
dense=$(sql "select count(*) from (select queue_id from drill group by 1 having max(queue_offset) + 1 <> count(*))")
[ "$once" = "$kept" ] || { echo "FAILED: $once of the $kept messages of the last flush are there"; exit 1; }
[ "$dense" = 0 ] || { echo "FAILED: $dense queues have gaps or doubles"; exit 1; }
send 1000001 1000500
now=$(sql "select count(*) from drill")
[ "$now" = $((have + 500)) ] || { echo "FAILED: $now messages after 500 more, $have before"; exit 1; }
echo "all $kept messages of the last flush are there once, $((acked > have ? acked - have : 0)) acked later are lost, 500 more were taken behind them"

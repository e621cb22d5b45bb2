#!/usr/bin/env bash
# The benchmark: the real Apache broker and Varve under the same driver. Nothing else should run on the machine meanwhile.
# Arguments go to bench, e.g.  -only send,sync  -servers varve  -scale 0.1  -profile. A whole run (no arguments) writes docs/bench/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
e2e=$root/e2e
cache=$e2e/.cache
apache=5.5.0
for tool in java mvn go; do
	command -v "$tool" >/dev/null || { echo "the benchmark needs $tool" >&2; exit 1; }
done
mkdir -p "$cache"
jars=$cache/apache-$apache
if ! cmp -s "$e2e/apache/pom.xml" "$jars/pom.xml"; then
	rm -rf "$jars"
	mvn -q -B -ntp -f "$e2e/apache/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars/lib"
	cp "$e2e/apache/pom.xml" "$jars/pom.xml"
fi
case " $* " in
*" -servers apache "*) ;;
*) (cd "$root" && go build -trimpath -o "$cache/varve" ./cmd/varve) ;;
esac
(cd "$here" && go build -o "$cache/bench" .)
out=$here/.work/spine
page=(-page "$out.md" -full "$here/.work/full-broker.md")
[ $# -gt 0 ] || { out=$root/docs/bench/spine page=(-page "$root/docs/bench/spine.md" -full "$root/docs/bench/full-broker.md"); }
exec "$e2e/loopback.sh" "$cache/bench" -binary "$cache/varve" -lib "$jars/lib" -work "$here/.work" "${page[@]}" -json "$out.json" "$@"

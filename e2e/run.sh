#!/usr/bin/env bash
# The interop run: real clients, a real MinIO, independent readers. Fetches what it needs from the package registries
# into e2e/.cache (Maven, Go modules, PyPI, npm), then runs everything in a network namespace of its own, where nothing but
# loopback exists. Arguments go to e2e/interop, e.g.  -server apache -only java -clients 5.5.0 -scenarios send-sync,pull
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
cache=$here/.cache
clients=${INTEROP_CLIENTS:-grpc-5.2.0,4.9.8,5.5.0}
apache=5.5.0
apache_old=4.9.7
mkdir -p "$cache"

need() { command -v "$1" >/dev/null || { echo "interop needs $1: $2" >&2; exit 1; }; }
need go "Go"

java_clients() {
	for v in ${clients//,/ }; do
		echo "Java client $v"
		case $v in
		grpc-*) mvn -q -B -ntp -f "$here/java5/pom.xml" -Dclient.version="${v#grpc-}" process-classes ;;
		*) mvn -q -B -ntp -f "$here/java/pom.xml" -Dclient.version="$v" process-classes ;;
		esac
	done
}

apache_broker() {
	cmp -s "$here/apache/pom.xml" "$cache/apache-$apache/pom.xml" && return
	rm -rf "$cache/apache-$apache"
	echo "Apache broker $apache"
	mvn -q -B -ntp -f "$here/apache/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/apache-$apache/lib.part"
	mv "$cache/apache-$apache/lib.part" "$cache/apache-$apache/lib"
	cp "$here/apache/pom.xml" "$cache/apache-$apache/pom.xml"
}

apache_old_broker() {
	[ -e "$cache/apache-$apache_old/pom.xml" ] && return
	rm -rf "$cache/apache-$apache_old"
	echo "Apache broker $apache_old"
	mvn -q -B -ntp -f "$here/apache/pom.xml" dependency:copy-dependencies -Dold -Drocketmq.version="$apache_old" -DincludeScope=runtime -DoutputDirectory="$cache/apache-$apache_old/lib.part"
	mv "$cache/apache-$apache_old/lib.part" "$cache/apache-$apache_old/lib"
	cp "$here/apache/pom.xml" "$cache/apache-$apache_old/pom.xml"
}

minio() {
	[ -x "$cache/minio" ] && return
	echo "MinIO server (built once: about seven minutes of CPU)"
	(cd "$here/minio" && nice go build -o "$cache/minio" github.com/minio/minio)
}

mqadmin() {
	echo "RocketMQ's mqadmin"
	mvn -q -B -ntp -f "$here/mqadmin/pom.xml" process-classes
}

# The engines that read the archive: pyarrow, PyIceberg, DuckDB, and Spark with Iceberg's runtime for it.
spark_runtime=iceberg-spark-runtime-3.5_2.12
spark_iceberg=1.10.0
python_env() {
	if ! cmp -s "$here/readers/requirements.txt" "$cache/venv/requirements.txt"; then
		echo "Python readers"
		rm -rf "$cache/venv"
		python3 -m venv "$cache/venv"
		"$cache/venv/bin/pip" install -q -r "$here/readers/requirements.txt"
		cp "$here/readers/requirements.txt" "$cache/venv/requirements.txt"
	fi
	[ -e "$cache/$spark_runtime-$spark_iceberg.jar" ] && return
	mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy \
		-Dartifact="org.apache.iceberg:$spark_runtime:$spark_iceberg" -DoutputDirectory="$cache"
}

go_clients() {
	(cd "$here/goclients" && go build -o "$cache/goclients" .)
}

python_client() {
	local want have
	want=$(sha256sum <"$here/python/requirements.txt")
	have=$(cat "$cache/python-client/ready" 2>/dev/null || true)
	[ "$want" = "$have" ] && return
	echo "Python client"
	rm -rf "$cache/python-client"
	python3 -m venv "$cache/python-client"
	"$cache/python-client/bin/pip" install -q -r "$here/python/requirements.txt"
	echo "$want" >"$cache/python-client/ready"
}

node_client() {
	local want have
	want=$(sha256sum <"$here/node/package-lock.json")
	have=$(cat "$cache/node-client/ready" 2>/dev/null || true)
	[ "$want" = "$have" ] && return
	need npm "Node 20 with npm, for RocketMQ's Node client"
	echo "Node client"
	rm -rf "$cache/node-client"
	mkdir -p "$cache/node-client"
	cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node-client/"
	(cd "$cache/node-client" && npm ci --silent --ignore-scripts)
	echo "$want" >"$cache/node-client/ready"
}

http_sdks() {
	[ -e "$cache/httpsdk-venv/ready" ] || {
		echo "HTTP SDK for Python"
		python3 -m venv "$cache/httpsdk-venv"
		"$cache/httpsdk-venv/bin/pip" install -q -r "$here/httpsdk/python/requirements.txt"
		touch "$cache/httpsdk-venv/ready"
	}
	[ -e "$cache/httpsdk-node/ready" ] || {
		echo "HTTP SDK for Node.js"
		mkdir -p "$cache/httpsdk-node"
		cp "$here"/httpsdk/node/package*.json "$cache/httpsdk-node/"
		(cd "$cache/httpsdk-node" && npm ci --silent --ignore-scripts)
		touch "$cache/httpsdk-node/ready"
	}
}

parts=java,mqadmin,languages,http,s3,readers,faults,migrate
server=varve
for ((i = 1; i <= $#; i++)); do
	next=$((i + 1))
	case "${!i}" in
	-only) parts=${!next} ;;
	-server) server=${!next} ;;
	-clients) clients=${!next} ;;
	esac
done
wants() { case ",$parts," in *",$1,"*) ;; *) return 1 ;; esac; }

if wants java || wants mqadmin || [ "$server" = apache ]; then
	need java "a Java 17 runtime"
	need mvn "Maven, for the Apache clients"
	mqadmin
fi
if wants java; then java_clients; fi
if wants languages || wants migrate; then go_clients; fi
if wants languages; then
	python_client
	node_client
fi
if [ "$server" = apache ] || wants migrate; then
	need java "a Java 17 runtime, for the Apache broker"
	need mvn "Maven, for the Apache broker"
	apache_broker
	if wants migrate && [ "$server" != apache ]; then apache_old_broker; fi
fi
if [ "$server" != apache ]; then
	if wants s3 || wants faults; then minio; fi
	if wants s3; then
		(cd "$root" && go test -c -o "$cache/s3.test" ./internal/objstore/s3)
	fi
	if wants s3 || wants readers || wants faults; then
		need java "a Java 17 runtime, for Spark"
		need mvn "Maven, for Iceberg's Spark runtime"
		python_env
	fi
	if wants http; then
		need npm "Node.js, for an HTTP SDK"
		http_sdks
	fi
	(cd "$root" && go build -trimpath -o "$cache/varve" ./cmd/varve)
fi
(cd "$here" && go build -o "$cache/interop" ./interop)

args=(-binary "$cache/varve" -cache "$cache" -work "$here/.work" -readers "$here/readers" -spark "$cache/$spark_runtime-$spark_iceberg.jar" -source "$here" -clients "$clients")
case " $* " in
*" apache "*) args+=(-record "$here/apache/results.json") ;;
*" -scenarios"* | *" -only"* | *" -golden"*) ;; # a part of it is not a page
*) args+=(-beside "$here/apache/results.json" -page "$root/docs/compat/clients.md") ;;
esac
case " $* " in
*" apache "* | *" -scenarios"* | *" -golden"*) ;;
*) args+=(-mqadmin-page "$root/docs/compat/mqadmin.md") ;;
esac
exec "$here/loopback.sh" "$cache/interop" "${args[@]}" "$@"

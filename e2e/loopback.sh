#!/usr/bin/env bash
# Runs a command where only loopback exists, in a network namespace of its own: fixed ports collide with nobody's, and
# the Apache broker's HA port, which listens on every address, is reachable by nobody.
set -euo pipefail
if unshare -rn true 2>/dev/null; then
	exec unshare -rn sh -c 'ip link set lo up && exec "$@"' loopback "$@"
fi
if [ "${ALLOW_OPEN_PORTS:-}" = 1 ]; then
	exec "$@"
fi
echo "no network namespace to be had here (unshare -rn); ALLOW_OPEN_PORTS=1 runs without, on this machine's own ports" >&2
exit 1

#!/usr/bin/env bash
# Runs a command where only loopback exists, in a network namespace of its own: fixed ports collide with nobody's, and
# the Apache broker's HA port, which listens on every address, is reachable by nobody. The machine is called localhost there:
# clients tell its name.
set -euo pipefail
if unshare -rnu true 2>/dev/null; then
	exec unshare -rnu sh -c 'ip link set lo up && hostname localhost && exec "$@"' loopback "$@"
fi
if [ "${ALLOW_OPEN_PORTS:-}" = 1 ]; then
	exec "$@"
fi
echo "no network namespace to be had here (unshare -rnu); ALLOW_OPEN_PORTS=1 runs without, on this machine's own ports" >&2
exit 1

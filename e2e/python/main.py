"""Runs the scenarios of e2e/interop with RocketMQ's Python client (gRPC).

The one argument is the plan, in JSON. A line a scenario is printed,
RESULT<tab>name<tab>ok|FAIL|skip<tab>millis<tab>detail; what only the harness
can do is asked for with CALL<tab>number<tab>verb<tab>argument and answered on
standard input with number<tab>ok|error<tab>text.
"""

import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import consuming
import sending
import special
from kit import Env, Harness, Lacks, leave_in_doubt

SCENARIOS = {**sending.SCENARIOS, **consuming.SCENARIOS, **special.SCENARIOS}

# What the client doesn't have.
LACKS = {
    "send-oneway": "one-way send",
    "send-batch": "batches",
    "send-to-queue": "choice of the queue",
    "auto-create": "way to a topic that isn't there: it asks for its route first",
    "request-reply": "request and reply",
    "trace": "trace topic: it exports spans",
    "body-compressed": "compression",
    "push-broadcast": "broadcast",
    "pull": "pull consumer",
    "delay-level": "delay levels",
}


def one(name, harness, plan):
    start = time.monotonic()
    env = Env(name, harness, plan)
    verdict, detail = "ok", ""
    try:
        if name in LACKS:
            raise Lacks(LACKS[name])
        SCENARIOS[name](env)
        detail = env.note
    except Lacks as e:
        verdict, detail = "skip", f"the client has no {e}"
    except Exception as e:  # whatever goes wrong is the scenario's result
        traceback.print_exc()
        verdict, detail = "FAIL", f"{type(e).__name__}: {e}"[:600]
    took = int((time.monotonic() - start) * 1000)
    # Behind its back: some clients wait for a long poll to end.
    threading.Thread(target=env.close, daemon=True).start()
    harness.result(name, verdict, took, detail)


def main():
    plan = json.loads(sys.argv[1])
    if len(sys.argv) > 2:
        leave_in_doubt(plan, sys.argv[2])
        return
    harness = Harness(sys.stdin, os.fdopen(os.dup(1), "w"))
    with ThreadPoolExecutor(plan["parallel"]) as pool:
        for done in [pool.submit(one, n, harness, plan) for n in plan["scenarios"]]:
            done.result()
    sys.stderr.flush()
    os._exit(0)  # nobody waits for the clients' threads


main()

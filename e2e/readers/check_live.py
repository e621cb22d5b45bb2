#!/usr/bin/env python3
"""Reads a table again and again in four ways while it is written, compacted and
cut by retention.

    python check_live.py URI NAMESPACE TABLE FOLDER SECONDS GRACE

URI is the REST catalog's, FOLDER the table's in the bucket; GRACE is for how many
seconds objects stay that left the table. PyIceberg and DuckDB read by the catalog
and by the folder. Every read must find each queue's offsets once, without a hole,
from a first one that only rises to a last one that only rises. A read may fail
only where it took longer than GRACE, which is said. Exit status 0 means that all
is so.
"""
import collections
import glob
import os
import re
import sys
import time

import duckdb
from pyiceberg.catalog import load_catalog
from pyiceberg.table import StaticTable

failures, counts = [], collections.Counter()
FIELDS = ("broker", "queue_id", "queue_offset", "store_time")


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED:", what)


def aggregated(table):
    rows = table.scan(selected_fields=FIELDS).to_arrow().group_by(["broker", "queue_id"]).aggregate(
        [("queue_offset", "count"), ("queue_offset", "count_distinct"), ("queue_offset", "min"), ("queue_offset", "max")])
    return [tuple(r[c] for c in ("broker", "queue_id", "queue_offset_count", "queue_offset_count_distinct", "queue_offset_min", "queue_offset_max"))
            for r in rows.to_pylist()]


def newest():
    versions = [int(re.search(r"v(\d+)\.metadata", f).group(1)) for f in glob.glob(folder + "/metadata/v*.metadata.json")]
    return folder + "/metadata/v%d.metadata.json" % max(versions)


def duck():
    con = duckdb.connect()
    for path in sorted(glob.glob(os.path.join(sys.prefix, "lib", "python*", "site-packages", "**", "*.duckdb_extension"), recursive=True)):
        con.execute("load '%s'" % path)
    return con


COUNT = "select broker, queue_id, count(*), count(distinct queue_offset), min(queue_offset), max(queue_offset) from %s group by broker, queue_id"
if len(sys.argv) != 7:
    sys.exit(__doc__)
uri, namespace, name, folder = sys.argv[1:5]
until, grace = time.monotonic() + float(sys.argv[5]), float(sys.argv[6])
catalog, by_catalog, by_folder = load_catalog("varve", type="rest", uri=uri), duck(), duck()
by_catalog.execute("attach '' as varve (type iceberg, endpoint '%s', authorization_type 'none')" % uri)
readers = {
    "PyIceberg by the catalog": lambda: aggregated(catalog.load_table((namespace, name))),
    "PyIceberg by the folder": lambda: aggregated(StaticTable.from_metadata(newest())),
    "DuckDB by the catalog": lambda: by_catalog.execute(COUNT % ('varve."%s"."%s"' % (namespace, name))).fetchall(),
    "DuckDB by the folder": lambda: by_folder.execute(COUNT % ("iceberg_scan('%s')" % folder)).fetchall(),
}
seen = {r: {} for r in readers}
while time.monotonic() < until:
    for reader, read in readers.items():
        began = time.monotonic()
        try:
            rows = read()
        except Exception as e:  # each engine has its own
            took = time.monotonic() - began
            counts["slow"] += 1
            check(took > grace, "%s failed after %.1f s: %s: %s" % (reader, took, type(e).__name__, str(e)[:400]))
            continue
        counts["reads"] += 1
        now = {}
        for broker, queue, n, distinct, low, high in rows:
            check(n == distinct == high - low + 1, "%s: queue %s/%d has %d rows, %d offsets, %d to %d" % (reader, broker, queue, n, distinct, low, high))
            now[broker, queue] = low, high
        for q, (low, high) in seen[reader].items():
            check(q in now and now[q][0] >= low and now[q][1] >= high, "%s: queue %s had %d to %d, now %s" % (reader, q, low, high, now.get(q)))
        seen[reader] = now
first = {q: low for reads in seen.values() for q, (low, _) in reads.items()}
check(first and min(first.values()) > 0, "retention took nothing of %s: the check is empty" % first)
if failures:
    sys.exit("%d checks failed, first: %s" % (len(failures), failures[0]))
print("%d reads in four ways, %d that took longer than the grace" % (counts["reads"], counts["slow"]))

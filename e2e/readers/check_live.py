#!/usr/bin/env python3
"""Reads a catalog's tables again and again with three engines while they are
written, compacted and cut by retention.

    python check_live.py URI NAMESPACE TABLE FOLDER SECONDS GRACE ICEBERG-SPARK-RUNTIME.jar

URI is the REST catalog's, FOLDER the namespace's in the bucket, TABLE the one
that is written and cut; GRACE is for how many seconds objects stay that left a
table. Every table is read by PyIceberg and DuckDB, by the catalog and by the
folder, and by Spark. Every read must find each queue's offsets once, without a
hole, from a first one that only rises to a last one that only rises. A read may
fail only where it took longer than GRACE, which is said.

PyIceberg and Spark also load TABLE with a lease (the header X-Varve-Lease), wait
until the grace period is long over, and read what they loaded then: all of it
must be there, though retention has taken the oldest out of the table and removed
it. DuckDB's lease must be a tag of the table. Exit status 0 means that all is so.
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


def newest(name):
    versions = [int(re.search(r"v(\d+)\.metadata", f).group(1)) for f in glob.glob(folder + "/" + name + "/metadata/v*.metadata.json")]
    return folder + "/" + name + "/metadata/v%d.metadata.json" % max(versions)


def duck():
    con = duckdb.connect()
    for path in sorted(glob.glob(os.path.join(sys.prefix, "lib", "python*", "site-packages", "**", "*.duckdb_extension"), recursive=True)):
        con.execute("load '%s'" % path)
    return con


def with_spark():
    from pyspark.sql import SparkSession

    b = (SparkSession.builder.master("local[1]").config("spark.jars", jar).config("spark.ui.enabled", "false")
         .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1").config("spark.sql.shuffle.partitions", "1")
         .config("spark.ui.showConsoleProgress", "false"))
    for name, header in ("varve", None), ("leased", "spark-live;ttl=10m"):
        at = "spark.sql.catalog." + name
        b = (b.config(at, "org.apache.iceberg.spark.SparkCatalog").config(at + ".type", "rest").config(at + ".uri", uri).config(at + ".cache-enabled", "false"))
        if header:
            b = b.config(at + ".header.X-Varve-Lease", header)
    spark = b.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


COUNT = "select broker, queue_id, count(*), count(distinct queue_offset), min(queue_offset), max(queue_offset) from %s group by broker, queue_id"


def spark_rows(name):
    return [tuple(r) for r in spark.sql(COUNT % name).collect()]


def spark_lease():
    """Spark plans anew whenever it runs, so what its lease keeps is read by the lease's tag."""
    spark.table("leased.`%s`.`%s`" % (namespace, name))
    return next(t for t in catalog.load_table((namespace, name)).metadata.refs if t.startswith("varve-lease-spark-live-"))


def judged(reader, rows):
    now = {}
    for broker, queue, n, distinct, low, high in rows:
        check(n == distinct == high - low + 1, "%s: queue %s/%d has %d rows, %d offsets, %d to %d" % (reader, broker, queue, n, distinct, low, high))
        now[broker, queue] = low, high
    return now


class Leased:
    """A reader that loads a table with a lease, and reads it when the grace is over."""

    def __init__(self, engine, load, read):
        self.engine, self.load, self.read, self.at = engine, load, read, None

    def look(self):
        if self.at is None:
            self.what, self.want, self.at = self.load(), low_high(catalog.load_table((namespace, name))), time.monotonic()
            return
        if time.monotonic() - self.at < grace + LEASED:
            return
        try:
            now = judged(self.engine, self.read(self.what))
        except Exception as e:  # each engine has its own
            check(False, "%s: a leased snapshot can't be read: %s: %s" % (self.engine, type(e).__name__, str(e)[:400]))
            now = {}
        counts["leased"] += 1
        current = low_high(catalog.load_table((namespace, name)))
        for q, (low, high) in now.items():
            check(low <= self.want[q][0] and high <= current[q][1], "%s: queue %s has %d to %d by its lease, the table had %s" % (self.engine, q, low, high, self.want[q]))
            counts[self.engine + ": only leased"] += low < current[q][0]
        self.at = None


def low_high(table):
    return {(b, q): (low, high) for b, q, _, _, low, high in aggregated(table)}


LEASED = 4  # seconds that a leased read waits after the grace: the sweep looks every second
if len(sys.argv) != 8:
    sys.exit(__doc__)
uri, namespace, name, folder, jar = sys.argv[1:5] + sys.argv[7:]
catalog, by_catalog, by_folder, duck_leased = load_catalog("varve", type="rest", uri=uri), duck(), duck(), duck()
leasing = load_catalog("leased", type="rest", uri=uri, **{"header.X-Varve-Lease": "pyiceberg-live;ttl=10m"})
duck_leased.execute("create secret (type http, extra_http_headers map {'X-Varve-Lease': 'duckdb-live;ttl=10m'})")
for con in by_catalog, duck_leased:
    con.execute("attach '' as varve (type iceberg, endpoint '%s', authorization_type 'none')" % uri)
spark = with_spark()
readers = {}
for _, t in catalog.list_tables(namespace):
    sql = '"%s"."%s"' % (namespace, t)
    readers["PyIceberg by the catalog", t] = lambda t=t: aggregated(catalog.load_table((namespace, t)))
    readers["PyIceberg by the folder", t] = lambda t=t: aggregated(StaticTable.from_metadata(newest(t)))
    readers["DuckDB by the catalog", t] = lambda sql=sql: by_catalog.execute(COUNT % ("varve." + sql)).fetchall()
    readers["DuckDB by the folder", t] = lambda t=t: by_folder.execute(COUNT % ("iceberg_scan('%s/%s')" % (folder, t))).fetchall()
    readers["Spark by the catalog", t] = lambda t=t: spark_rows("varve.`%s`.`%s`" % (namespace, t))
leased = [
    Leased("PyIceberg", lambda: leasing.load_table((namespace, name)), aggregated),
    Leased("Spark", spark_lease, lambda tag: spark_rows("varve.`%s`.`%s` version as of '%s'" % (namespace, name, tag))),
]
judged("DuckDB", duck_leased.execute(COUNT % ('varve."%s"."%s"' % (namespace, name))).fetchall())
tags = catalog.load_table((namespace, name)).metadata.refs
check(any(t.startswith("varve-lease-duckdb-live-") for t in tags), "DuckDB asked for a lease, the table has the tags %s" % sorted(tags))
spark.sql("select count(*) from varve.`%s`.`%s`" % (namespace, next(t for _, t in catalog.list_tables(namespace) if t != name))).collect()  # the first query takes seconds
seen = {r: {} for r in readers}
until = time.monotonic() + float(sys.argv[5])
grace = float(sys.argv[6])
while time.monotonic() < until or not all(counts[x.engine + ": only leased"] for x in leased) and time.monotonic() < until + 30:
    for reader, read in readers.items():
        for x in leased:
            x.look()
        began = time.monotonic()
        try:
            rows = read()
        except Exception as e:  # each engine has its own
            took = time.monotonic() - began
            counts["slow"] += 1
            check(took > grace, "%s failed after %.1f s: %s: %s" % (reader, took, type(e).__name__, str(e)[:400]))
            continue
        counts["reads"] += 1
        now = judged(reader, rows)
        for q, (low, high) in seen[reader].items():
            check(q in now and now[q][0] >= low and now[q][1] >= high, "%s: queue %s had %d to %d, now %s" % (reader, q, low, high, now.get(q)))
        seen[reader] = now
first = [low for reads in (seen[r] for r in readers if r[1] == name) for low, _ in reads.values()]
check(first and min(first) > 0, "retention took nothing of %s: the check is empty" % first)
for x in leased:
    check(counts[x.engine + ": only leased"] > 0, "no leased read of %s had what retention took: the check is empty" % x.engine)
shared = 0
for _, t in catalog.list_tables(namespace):
    table = catalog.load_table((namespace, t))
    shared += len(list(table.scan().plan_files())) < len(low_high(table))
check(shared > 0, "no table's queues share objects: the check is empty")
if failures:
    sys.exit("%d checks failed, first: %s" % (len(failures), failures[0]))
print("%d reads of %d tables in five ways, %d that took longer than the grace; %d by a lease after it" % (
    counts["reads"], len(seen) // 5, counts["slow"], counts["leased"]))

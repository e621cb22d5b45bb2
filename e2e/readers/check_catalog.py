#!/usr/bin/env python3
"""Reads a table by Varve's Iceberg REST catalog with three engines, while
messages come in and are archived.

    python check_catalog.py URI NAMESPACE TABLE ROWS ICEBERG-SPARK-RUNTIME.jar

URI is the catalog's, such as http://127.0.0.1:8082/iceberg; ROWS is how many
rows the table has at least. PyIceberg, DuckDB and Spark attach with that one
setting and each count the table several times: it must never have fewer rows
than before, every queue's offsets must be there once without a hole, and the
tables listed must be the same to all. A write must be refused. Exit status 0
means that all is so.
"""
import glob
import os
import sys

import duckdb
from pyiceberg.catalog import load_catalog

ROUNDS = 3
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("  FAILED:", what)


def check_counts(engine, rows, least):
    """rows: (broker, queue id, rows, distinct offsets, lowest, highest)."""
    total = 0
    for broker, queue, n, distinct, low, high in rows:
        check(n == distinct == high - low + 1, "%s: queue %s/%d has %d rows, %d offsets, %d to %d" % (engine, broker, queue, n, distinct, low, high))
        total += n
    check(total >= least, "%s: %d rows, there were %d" % (engine, total, least))
    return max(total, least)


def refused(engine, write):
    try:
        write()
    except Exception as e:  # each engine has its own
        print("  %s: a write is refused: %s" % (engine, str(e).strip().splitlines()[0][:120]))
        return
    check(False, engine + ": a write was taken")


def with_pyiceberg(least):
    catalog = load_catalog("varve", type="rest", uri=uri)
    check((namespace,) in catalog.list_namespaces(), "PyIceberg: no namespace %s in %s" % (namespace, catalog.list_namespaces()))
    for _ in range(ROUNDS):
        data = catalog.load_table((namespace, table)).scan(selected_fields=("broker", "queue_id", "queue_offset")).to_arrow()
        rows = data.group_by(["broker", "queue_id"]).aggregate(
            [("queue_offset", "count"), ("queue_offset", "count_distinct"), ("queue_offset", "min"), ("queue_offset", "max")])
        least = check_counts("PyIceberg", [tuple(r[c] for c in (
            "broker", "queue_id", "queue_offset_count", "queue_offset_count_distinct", "queue_offset_min", "queue_offset_max")) for r in rows.to_pylist()], least)
    refused("PyIceberg", lambda: catalog.drop_table((namespace, table)))
    print("PyIceberg: %d rows" % least)
    return {name for _, name in catalog.list_tables(namespace)}, least


COUNT = """select broker, queue_id, count(*), count(distinct queue_offset), min(queue_offset), max(queue_offset)
    from varve.%s.%s group by broker, queue_id"""


def with_duckdb(least):
    con = duckdb.connect()
    for path in sorted(glob.glob(os.path.join(sys.prefix, "lib", "python*", "site-packages", "**", "*.duckdb_extension"), recursive=True)):
        con.execute("load '%s'" % path)
    con.execute("attach '' as varve (type iceberg, endpoint '%s', authorization_type 'none')" % uri)
    for _ in range(ROUNDS):
        least = check_counts("DuckDB", con.execute(COUNT % ('"%s"' % namespace, '"%s"' % table)).fetchall(), least)
    refused("DuckDB", lambda: con.execute('drop table varve."%s"."%s"' % (namespace, table)))
    print("DuckDB: %d rows" % least)
    return {r[2] for r in con.execute("show all tables").fetchall() if r[1] == namespace}, least


def with_spark(least):
    from pyspark.sql import SparkSession

    name = "spark.sql.catalog.varve"
    spark = (SparkSession.builder.master("local[1]").config("spark.jars", jar).config("spark.ui.enabled", "false")
             .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
             .config(name, "org.apache.iceberg.spark.SparkCatalog").config(name + ".type", "rest").config(name + ".uri", uri)
             .config(name + ".cache-enabled", "false").getOrCreate())
    spark.sparkContext.setLogLevel("ERROR")
    for _ in range(ROUNDS):
        least = check_counts("Spark", [tuple(r) for r in spark.sql(COUNT % ("`%s`" % namespace, "`%s`" % table)).collect()], least)
    commits = spark.sql("select count(*) from varve.`%s`.`%s`.snapshots" % (namespace, table)).collect()[0][0]
    check(commits > 0, "Spark: the table has no snapshots")
    refused("Spark", lambda: spark.sql("delete from varve.`%s`.`%s` where queue_id = 0" % (namespace, table)))
    tables = {r["tableName"] for r in spark.sql("show tables in varve.`%s`" % namespace).collect()}
    spark.stop()
    print("Spark: %d rows" % least)
    return tables, least


if len(sys.argv) != 6:
    sys.exit(__doc__)
uri, namespace, table, jar = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[5]
least, seen = int(sys.argv[4]), []
for engine in with_pyiceberg, with_duckdb, with_spark:
    tables, least = engine(least)
    seen.append(tables)
check(seen[0] == seen[1] == seen[2], "the engines list other tables: %s" % seen)
sys.exit("%d checks failed" % len(failures) if failures else 0)

#!/usr/bin/env python3
"""Reads an archive with engines that share no code with Varve, and compares.

    python3 -m venv /tmp/readers
    /tmp/readers/bin/pip install -r e2e/readers/requirements.txt
    /tmp/readers/bin/python e2e/readers/check_archive.py DIR

DIR is a local archive ("archive" in a data directory). For every table in it:

  pyarrow    each data file of the newest snapshot: schema and field ids, all
             rows, CRC-32 of every body against body_crc
  PyIceberg  the table from its newest metadata file: all rows, a pruned scan
  DuckDB     iceberg_scan() of the table's folder and read_parquet() of its
             files: all rows, map and list columns, bloom filter probe

Typed columns of bodies, where a table has some, are compared by field id, file
by file, over every version of the topic's schema.

All must give the same rows, each queue's offsets must be dense, and the
snapshot's varve.next-offsets must be where they end. Exit status 0 means that
they do.
"""
import glob
import hashlib
import json
import os
import re
import struct
import sys
import zlib

import duckdb
import pyarrow.parquet as pq
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.table import StaticTable

FIELDS = {
    "broker": 1, "queue_id": 2, "queue_offset": 3, "store_time": 4, "born_time": 5, "msg_id": 6, "keys": 7, "tag": 8,
    "properties": 9, "body": 10, "reconsume_times": 11, "sys_flag": 12, "flag": 13, "body_crc": 14, "born_host": 15,
    "store_host": 16, "physical_offset": 17, "prepared_transaction_offset": 18, "body_encoding": 19, "erased_hash": 20,
    "stored_form": 21,
}
FIRST_TYPED = 1000  # ids of columns that are made of bodies
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("  FAILED:", what)


def digest(rows):
    """A digest of rows as every engine gives them: (queue, offset) order."""
    h = hashlib.sha256()
    for r in sorted(rows, key=lambda r: (r["broker"], r["queue_id"], r["queue_offset"])):
        props = r["properties"]
        if isinstance(props, dict):
            props = props.items()
        props = [(k, v) for k, v in props]
        h.update(repr((
            r["broker"], r["queue_id"], r["queue_offset"], int(r["store_us"]), r["msg_id"], list(r["keys"]), r["tag"],
            sorted(props), bytes(r["body"]), r["physical_offset"], r["born_host"], r["sys_flag"],
        )).encode())
    return h.hexdigest()


def micros(table, column):
    return table.column(column).cast("int64").to_pylist()


def to_rows(table):
    rows = table.drop_columns(["store_time", "born_time"]).to_pylist()
    for r, us in zip(rows, micros(table, "store_time")):
        r["store_us"] = us
    return rows


def newest(folder):
    versions = [int(re.search(r"v(\d+)\.metadata", f).group(1)) for f in glob.glob(folder + "/metadata/v*.metadata.json")]
    return folder + "/metadata/v%d.metadata.json" % max(versions)


def with_pyarrow(paths):
    rows = []
    for p in paths:
        f = pq.ParquetFile(p)
        ids = {c.name: int(c.metadata[b"PARQUET:field_id"]) for c in f.schema_arrow}
        own = {name: i for name, i in ids.items() if i < FIRST_TYPED and name != "body_error"}
        check(own == FIELDS, "%s: field ids %s" % (p, ids))
        for rg in range(f.metadata.num_row_groups):
            for c in range(f.metadata.num_columns):
                col = f.metadata.row_group(rg).column(c)
                check(col.compression == "ZSTD" and col.has_offset_index, "%s: column %d" % (p, c))
        table = f.read()
        for r in to_rows(table):
            crc = zlib.crc32(r["body"]) & 0x7FFFFFFF
            check(crc == r["body_crc"], "%s: offset %d: body_crc %d, body has %d" % (p, r["queue_offset"], r["body_crc"], crc))
            rows.append(r)
    return rows


def with_duckdb(con, source):
    cur = con.execute(
        "select %s, epoch_us(store_time) as store_us from %s" % (
            ", ".join(c for c in FIELDS if c not in ("store_time", "born_time")), source))
    names = [d[0] for d in cur.description]
    return [dict(zip(names, r)) for r in cur.fetchall()]


def check_table(con, folder):
    print(folder)
    meta = newest(folder)
    table = StaticTable.from_metadata(meta)
    snap = table.current_snapshot()
    if snap is None:
        print("  no snapshot yet")
        return
    paths = [t.file.file_path.removeprefix("file://") for t in table.scan().plan_files()]
    want = with_pyarrow(paths)
    print("  pyarrow: %d files, %d rows" % (len(paths), len(want)))
    base = digest(want)

    rows = to_rows(table.scan().to_arrow())
    check(digest(rows) == base, "PyIceberg gives other rows: %d of %d" % (len(rows), len(want)))
    print("  PyIceberg: %d rows" % len(rows))

    queues = {}
    for r in want:
        queues.setdefault((r["broker"], r["queue_id"]), []).append(r["queue_offset"])
    ends = json.loads(snap.summary["varve.next-offsets"])
    for (broker, queue), offsets in sorted(queues.items()):
        offsets.sort()
        check(offsets == list(range(offsets[0], offsets[-1] + 1)), "%s/%d: offsets are not dense" % (broker, queue))
        check(ends[broker][str(queue)] == offsets[-1] + 1, "%s/%d: next offset" % (broker, queue))
        mid, to = offsets[len(offsets) // 2], offsets[len(offsets) // 2] + 10
        part = table.scan(row_filter=And(EqualTo("broker", broker), EqualTo("queue_id", queue), And(
            GreaterThanOrEqual("queue_offset", mid), LessThan("queue_offset", to)))).to_arrow()
        check(part.num_rows == len([o for o in offsets if mid <= o < to]), "%s/%d: pruned scan gives %d rows" % (broker, queue, part.num_rows))

    files = "read_parquet([%s])" % ", ".join("'%s'" % p.replace("'", "''") for p in paths)
    rows = with_duckdb(con, files)
    check(digest(rows) == base, "DuckDB read_parquet gives other rows: %d of %d" % (len(rows), len(want)))
    print("  DuckDB read_parquet: %d rows" % len(rows))
    some = next((r for r in want if r["keys"]), None)
    if some:
        key = some["keys"][0]
        n = con.execute("select count(*) from %s where list_contains(keys, ?)" % files, [key]).fetchone()[0]
        check(n == len([r for r in want if key in r["keys"]]), "DuckDB: key %r found %d times" % (key, n))
    n = con.execute("select count(*) from parquet_bloom_probe(['%s'], 'msg_id', '%s') where bloom_filter_excludes"
                    % (paths[0], want[0]["msg_id"].replace("'", "''"))).fetchone()[0]
    groups = pq.ParquetFile(paths[0]).metadata.num_row_groups
    check(n < groups, "DuckDB: the bloom filter of %s excludes an id that is there" % paths[0])
    if iceberg:
        rows = with_duckdb(con, "iceberg_scan('%s')" % folder)
        check(digest(rows) == base, "DuckDB iceberg_scan gives other rows: %d of %d" % (len(rows), len(want)))
        print("  DuckDB iceberg_scan: %d rows" % len(rows))
    check_typed(con, folder, table, paths)


def plain(v):
    """A value that compares: PyIceberg gives no list as an empty one where it
    converts a list's elements."""
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()} or None
    if isinstance(v, (list, tuple)):
        pairs = [plain(x) for x in v]
        if pairs and all(isinstance(x, list) and len(x) == 2 and isinstance(x[0], str) for x in pairs):
            return dict(pairs)  # a map
        return pairs or None
    return v


def by_id(value, type_, names):
    """A value of a file under the names that the table has for its fields."""
    import pyarrow as pa
    if value is None:
        return None
    if pa.types.is_struct(type_):
        out = dict.fromkeys(names["struct"][names["id"]].values())
        for i in range(type_.num_fields):
            f = type_.field(i)
            i = int(f.metadata[b"PARQUET:field_id"])
            if i in names["struct"][names["id"]]:
                out[names["struct"][names["id"]][i]] = by_id(value[f.name], f.type, {**names, "id": i})
        return out
    if pa.types.is_list(type_):
        i = int(type_.value_field.metadata[b"PARQUET:field_id"])
        return [by_id(v, type_.value_type, {**names, "id": i}) for v in value]
    return value


def check_typed(con, folder, table, paths):
    """The columns that are made of bodies: each file's own, by field id, are what
    PyIceberg and DuckDB give for the table."""
    columns = [f for f in table.schema().fields if f.field_id >= FIRST_TYPED]
    if not columns:
        return
    names = {"struct": {}}

    def collect(i, t):
        if hasattr(t, "fields"):
            names["struct"][i] = {f.field_id: f.name for f in t.fields}
            for f in t.fields:
                collect(f.field_id, f.field_type)
        if hasattr(t, "element_type"):
            collect(t.element_id, t.element_type)

    for f in columns:
        collect(f.field_id, f.field_type)
    keys = ["broker", "queue_id", "queue_offset"]
    want = {}
    for p in paths:
        data = pq.ParquetFile(p).read()
        ids = {int(f.metadata[b"PARQUET:field_id"]): f for f in data.schema}
        for r in data.to_pylist():
            want[tuple(r[k] for k in keys)] = [
                plain(by_id(r[ids[c.field_id].name], ids[c.field_id].type, {**names, "id": c.field_id})) if c.field_id in ids else None
                for c in columns] + [r.get("body_error")]
    cols = [c.name for c in columns] + ["body_error"]
    sources = {"PyIceberg": table.scan(selected_fields=tuple(keys + cols)).to_arrow().to_pylist()}
    if iceberg:
        cur = con.execute("select %s from iceberg_scan('%s')" % (", ".join('"%s"' % c for c in keys + cols), folder))
        sources["DuckDB"] = [dict(zip(keys + cols, r)) for r in cur.fetchall()]
    for engine, rows in sources.items():
        got = {tuple(r[k] for k in keys): [plain(r[c]) for c in cols] for r in rows}
        differ = [k for k in want if got.get(k) != want[k]]
        check(not differ and len(got) == len(want), "%s: typed columns of %d rows differ, such as %s" % (
            engine, len(differ), [(k, got.get(k), want[k]) for k in differ[:1]]))
    filled = sum(1 for v in want.values() if any(x is not None for x in v[:-1]))
    print("  typed columns: %d, %d rows with values, %d with a reason" % (len(columns), filled, sum(1 for v in want.values() if v[-1])))


if len(sys.argv) != 2:
    sys.exit(__doc__)
root = os.path.abspath(sys.argv[1])
con = duckdb.connect()
con.execute("set timezone='UTC'")
iceberg = False
try:
    import duckdb_ext_avro  # noqa: F401  (carry the extension files)
    import duckdb_ext_iceberg  # noqa: F401
except ImportError:
    pass
for path in sorted(glob.glob(os.path.join(sys.prefix, "lib*", "python*", "site-packages", "**", "*.duckdb_extension"), recursive=True)):
    con.execute("load '%s'" % path)
    iceberg = iceberg or "iceberg" in os.path.basename(path)
folders = sorted(os.path.dirname(os.path.dirname(p)) for p in glob.glob(root + "/**/metadata/version-hint.text", recursive=True))
if not folders:
    sys.exit("no tables under " + root)
if not iceberg:
    print("DuckDB's iceberg extension is not installed: iceberg_scan is left out")
for folder in folders:
    check_table(con, folder)
sys.exit("%d checks failed" % len(failures) if failures else 0)

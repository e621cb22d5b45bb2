#!/usr/bin/env python3
"""Judges a bucket that Varve wrote, as it was at several times, with PyIceberg,
pyarrow and DuckDB, and with nothing of Varve's own.

    python check_states.py EVIDENCE.json

The file says what was sent, what was acked and where, and the folders that have
the bucket's objects as they were: mostly a moment after the process that wrote
was killed. Of each table in each of them all of this must hold:

- every object that a retained snapshot names is there, as long as it says, and
  the hint names a version that is there
- a queue's offsets are there once, from the first to the one that
  varve.next-offsets names, but for gaps that are declared; what is missing before
  is in a record of a deletion, and in varve.removed-below
- every row is a message that was sent, in its place: body, id, key, tag, times
  and checksum; where its send was acked, it is the message that was acked there;
  no message is there twice
- what a flush had acked is there, and nothing ever goes back
- a snapshot changes what its operation may: append adds, replace and overwrite
  keep every queue's offsets, delete takes whole files; a commit is there once
- bounds in the manifests are those of the rows, and PyIceberg's plans by
  queue_offset and store_time find what a full scan finds
- DuckDB reads the same rows
- a row is erased if a certificate says so, and where an erasure was answered
- typed columns have what the body says

Then the last state is spoiled in several ways, and each of them must be found.
Exit status 0 means that all is so.
"""
import collections
import copy
import datetime
import glob
import hashlib
import json
import os
import re
import shutil
import sys
import traceback
import zlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import StaticTable
from pyiceberg.types import IntegerType, LongType, StringType, TimestamptzType

failures = []
counts = collections.Counter()
TYPES = {1: StringType(), 2: IntegerType(), 3: LongType(), 4: TimestamptzType(), 17: LongType()}
BOUNDED = {1: "broker", 2: "queue_id", 3: "queue_offset", 4: "store_time", 17: "physical_offset"}
COLUMNS = ["broker", "queue_id", "queue_offset", "store_time", "born_time", "msg_id", "keys", "tag", "properties", "body", "body_crc", "erased_hash"]
UTC = datetime.timezone.utc


class StateIO(PyArrowFileIO):
    """Finds the bucket's objects in the folder that has them as they were."""

    def _initialize_fs(self, scheme, netloc=None):
        return SubTreeFileSystem(self.properties["state"], LocalFileSystem())


def check(ok, what):
    counts["checks"] += 1
    if not ok:
        failures.append(what)
        if not quiet and len(failures) <= 40:
            print("FAILED:", what)
    return ok


class Truth:
    """What was sent and acked."""

    def __init__(self, e):
        self.sent = {m["serial"]: m for m in e["sent"]}
        self.acked = {(a["topic"], a["broker"], a["queue"], a["offset"]): a["serial"] for a in e["acked"]}
        check(len(self.acked) == len(e["acked"]), "two messages were acked at one place")


def micros(t):
    return int((t - datetime.datetime(1970, 1, 1, tzinfo=UTC)) / datetime.timedelta(microseconds=1))


class File:
    """A data file, read once by pyarrow: its rows are judged by themselves."""

    seen = {}

    @classmethod
    def of(cls, path, truth):
        key = os.stat(path).st_ino  # one object is one inode in all states
        if key not in cls.seen:
            cls.seen[key] = cls(path, truth)
        return cls.seen[key]

    def __init__(self, path, truth):
        f = pq.ParquetFile(path)
        meta = {k.decode(): v.decode() for k, v in f.metadata.metadata.items() if k.startswith(b"varve.") and k != b"varve.proof"}
        self.topic = meta["varve.topic"]
        self.typed = [c.name for c in f.schema_arrow if int(c.metadata[b"PARQUET:field_id"]) >= 1000]
        table = f.read()
        self.rows = table.num_rows
        stored, born = (table.column(c).cast("int64").to_pylist() for c in ("store_time", "born_time"))
        self.bounds = {}
        for i, name in BOUNDED.items():
            values = stored if name == "store_time" else table.column(name).to_pylist()
            self.bounds[i] = (min(values), max(values))
        self.offsets, self.serials, self.erased, self.stored = {}, {}, set(), {}
        self.untyped = []
        for n, r in enumerate(table.select([c for c in COLUMNS if c not in ("store_time", "born_time")] + self.typed).to_pylist()):
            at = (r["broker"], r["queue_id"], r["queue_offset"])
            self.offsets.setdefault(at[:2], []).append(at[2])
            self.stored[at] = stored[n]
            where = "%s: %s" % (os.path.basename(path), at)
            if r["erased_hash"] is not None:
                self.erased.add(at)
                check(r["body"] == b"" and not r["keys"] and r["tag"] is None, where + ": erased, and still has its message")
                serial = int(r["msg_id"][-12:])
            else:
                serial = self.message(r, where, truth)
                props = dict(r["properties"])
                check(props.get("UNIQ_KEY") == r["msg_id"] and r["tag"] == props.get("TAGS"), where + ": its columns differ from its properties")
                for c in self.typed:
                    want = json.loads(r["body"]).get(c)
                    if r[c] is None and c == "order_id":
                        self.untyped.append(at)
                    check(r[c] is None or r[c] == want, where + ": column %s is %r, the body has %r" % (c, r[c], want))
            check(born[n] <= stored[n] + 1_000_000, where + ": stored before it was born")
            self.serials[at] = serial
            was = truth.acked.get((self.topic,) + at)
            check(was is None or was == serial, where + ": message %s was acked there, message %d is there" % (was, serial))
            m = truth.sent.get(serial)
            check(m is not None and m["topic"] == self.topic and m["queue"] == r["queue_id"], where + ": message %d was sent to %s" % (serial, m))
        counts["files"] += 1
        counts["rows"] += self.rows

    def message(self, r, where, truth):
        body = r["body"]
        serial = int(json.loads(body)["order_id"][-12:])
        m = truth.sent.get(serial)
        check(m and hashlib.sha256(body).hexdigest() == m["sha256"], where + ": another body than was sent")
        check(zlib.crc32(body) & 0x7FFFFFFF == r["body_crc"], where + ": body_crc")
        check(r["msg_id"].endswith("%012d" % serial) and r["keys"] == ["O-2026-%012d" % serial], where + ": id %s, keys %s" % (r["msg_id"], r["keys"]))
        return serial


class State:
    def __init__(self, s, base, truth, before):
        self.s, self.truth = s, truth
        self.root = root_of(s, base)
        self.base, self.before, self.now = base + "/", before, {}

    def path(self, location):
        check(location.startswith(self.base), "%s is no object of the bucket" % location)
        return os.path.join(self.root, location.removeprefix(self.base))

    def check(self):
        topics = set()
        for hint in sorted(glob.glob(self.root + "/**/metadata/v*.metadata.json", recursive=True)):
            topics.add(os.path.dirname(os.path.dirname(hint)))
        names = {self.table(folder) for folder in sorted(topics)}
        for topic in self.s["need"]:
            check(topic in names, "%s: topic %s was flushed and has no table" % (self.s["name"], topic))
        for topic, queues in (self.s["hot"] or {}).items():
            for q in queues:
                end = self.now.get(topic, {}).get("ends", {}).get((q["broker"], q["id"]), 0)
                check(q["hot_start"] <= end <= q["max"], "%s: %s/%s/%d: hot from %d to %d, archived up to %d" % (
                    self.s["name"], topic, q["broker"], q["id"], q["hot_start"], q["max"], end))
        return self.now

    def table(self, folder):
        versions = sorted(int(re.search(r"v(\d+)\.metadata", f).group(1)) for f in os.listdir(folder + "/metadata") if f.endswith(".metadata.json"))
        self.name = "%s, %s" % (self.s["name"], os.path.relpath(folder, self.root))
        hint = folder + "/metadata/version-hint.text"
        if os.path.exists(hint):
            with open(hint) as f:
                text = f.read()
            check(text.strip().isdigit() and int(text) in versions, "%s: the hint says %r, there are %d to %d" % (self.name, text, versions[0], versions[-1]))
        check(versions == list(range(versions[0], versions[-1] + 1)), "%s: versions are missing among %d to %d" % (self.name, versions[0], versions[-1]))
        meta = os.path.join(folder, "metadata", "v%d.metadata.json" % versions[-1])
        table = StaticTable.from_metadata(self.base + os.path.relpath(meta, self.root), {"py-io-impl": "__main__.StateIO", "state": self.s["dir"]})
        topic = table.metadata.properties["varve.topic"]
        snap = table.current_snapshot()
        if snap is None:
            check(topic not in self.s["need"], self.name + ": flushed, and without a snapshot")
            self.now.setdefault(topic, self.before.get(topic, {}))
            return topic
        was = self.before.get(topic)
        if was and was["id"] == id_of(table, snap) and was["same"] == self.same(folder):
            counts["unchanged"] += 1
            self.now[topic] = was
            self.demands(topic, was)
            return topic
        self.now[topic] = self.whole(table, snap, topic, folder)
        return topic

    def same(self, folder):
        """What a table's retained snapshots rest on: as long as it is the same, so is what was found."""
        return frozenset(os.stat(p).st_ino for p in glob.glob(folder + "/data/**/*.parquet", recursive=True) + glob.glob(folder + "/metadata/*.avro")
                         + glob.glob(folder + "/deletions/*") + glob.glob(folder + "/erasures/*"))

    def whole(self, table, snap, topic, folder):
        counts["tables"] += 1
        files = self.history(table)
        current = files[snap.snapshot_id]
        queues, serials, erased, stored, untyped = {}, {}, set(), {}, []
        for path, entry in current.items():
            f = File.of(self.path(path), self.truth)
            check(f.topic == topic, "%s: %s is of topic %s" % (self.name, path, f.topic))
            self.bounds(path, entry, f)
            for q, offsets in f.offsets.items():
                queues.setdefault(q, []).extend(offsets)
            serials.update(f.serials)
            stored.update(f.stored)
            erased |= f.erased
            untyped += f.untyped if f.typed else [at for at in f.serials if at not in f.erased]
        doubled = [n for n, k in collections.Counter(serials.values()).items() if k > 1]
        check(not doubled, "%s: messages are there twice, such as %s" % (self.name, doubled[:3]))
        now = {"id": id_of(table, snap), "same": self.same(folder), "erased": {serials[a] for a in erased}, "serials": set(serials.values()), "untyped": len(untyped)}
        now["ends"], now["low"] = self.queues(snap, queues, folder)
        now["certified"] = self.certificates(folder, {a: serials[a] for a in erased})
        self.engines(table, current, stored)
        self.demands(topic, now)
        return now

    entries = {}  # of manifests, by path: a manifest is never changed

    def live(self, manifest, io):
        if manifest.manifest_path not in self.entries:
            self.entries[manifest.manifest_path] = [e.data_file for e in manifest.fetch_manifest_entry(io, discard_deleted=True)]
        return self.entries[manifest.manifest_path]

    manifests = {}  # of snapshots, by list

    def history(self, table):
        """Every retained snapshot: its objects are there, and it changed what it may."""
        out, ids = {}, {}
        for s in sorted(table.metadata.snapshots, key=lambda s: s.sequence_number):
            files = {}
            self.exists(s.manifest_list)
            if s.manifest_list not in self.manifests:
                self.manifests[s.manifest_list] = s.manifests(table.io)
            for m in self.manifests[s.manifest_list]:
                self.exists(m.manifest_path, m.manifest_length)
                for d in self.live(m, table.io):
                    check(d.file_path not in files, "%s: snapshot %d has %s twice" % (self.name, s.snapshot_id, d.file_path))
                    files[d.file_path] = d
                    self.exists(d.file_path, d.file_size_in_bytes)
            out[s.snapshot_id] = files
            props = s.summary.additional_properties
            ids.setdefault(props.get("varve.commit-id"), []).append(s.snapshot_id)
            if s.parent_snapshot_id in out:
                self.step(s, out[s.parent_snapshot_id], files)
        check(all(len(v) == 1 for k, v in ids.items() if k), "%s: a commit is there twice: %s" % (self.name, [k for k, v in ids.items() if k and len(v) > 1]))
        return out

    def exists(self, location, size=None):
        path = self.path(location)
        if check(os.path.exists(path), "%s: %s is gone and needed" % (self.name, location)) and size is not None:
            check(os.path.getsize(path) == size, "%s: %s has %d bytes, %d were noted" % (self.name, location, os.path.getsize(path), size))

    def step(self, s, old, new):
        op = s.summary.operation.value
        what = "%s: snapshot %d, %s" % (self.name, s.snapshot_id, op)
        gone, came = set(old) - set(new), set(new) - set(old)
        if op == "append":
            check(not gone, what + ": %d files are gone" % len(gone))
        elif op == "delete":
            check(not came, what + ": %d files came" % len(came))
        else:
            a, b = (self.offsets(paths) for paths in (gone, came))
            check(a == b, what + ": other offsets than before")

    def offsets(self, paths):
        return collections.Counter(q + (o,) for p in paths for q, offsets in File.of(self.path(p), self.truth).offsets.items() for o in offsets)

    def bounds(self, path, entry, f):
        check(entry.record_count == f.rows, "%s: %s has %d rows, %d were noted" % (self.name, path, f.rows, entry.record_count))
        for i, name in BOUNDED.items():
            t = TYPES[i]
            got = tuple(from_bytes(t, (entry.lower_bounds, entry.upper_bounds)[k][i]) for k in (0, 1))
            check(got == f.bounds[i], "%s: %s: bounds of %s are %s, the rows have %s" % (self.name, path, name, got, f.bounds[i]))

    def queues(self, snap, queues, folder):
        props = snap.summary.additional_properties
        named = {(b, int(q)): n for b, qs in json.loads(props["varve.next-offsets"]).items() for q, n in qs.items()}
        below = {(b, int(q)): n for b, qs in json.loads(props.get("varve.removed-below", "{}")).items() for q, n in qs.items()}
        gaps = {(b, int(q)): n for b, qs in json.loads(props.get("varve.gaps", "{}")).items() for q, n in qs.items()}
        removed = {}
        for p in glob.glob(folder + "/deletions/*.json"):
            if not p.endswith(".removed.json"):
                with open(p) as f:
                    for d in json.load(f)["files"]:
                        removed.setdefault((d["queue"]["Broker"], d["queue"]["ID"]), []).append((d["offsets"]["From"], d["offsets"]["To"]))
        for q, offsets in queues.items():
            offsets.sort()
            low = below.get(q, 0)
            want = [o for o in range(low, named.get(q, 0)) if not any(a <= o < b for a, b in gaps.get(q, []))]
            check(offsets == want, "%s: queue %s has %d rows of offsets %d to %d; it goes from %d to %s, gaps %s" % (
                self.name, q, len(offsets), offsets[0], offsets[-1], low, named.get(q), gaps.get(q)))
        for q, low in below.items():
            covered = set()
            for a, b in removed.get(q, []):
                covered.update(range(a, b))
            check(covered >= set(range(low)), "%s: queue %s: offsets below %d are gone without a record" % (self.name, q, low))
        check(set(named) == set(queues), "%s: next offsets are named of %s, rows are there of %s" % (self.name, sorted(named), sorted(queues)))
        return named, below

    def certificates(self, folder, erased):
        rows = set()
        for p in glob.glob(folder + "/erasures/*.json"):
            with open(p) as f:
                c = json.load(f)
            c = c.get("certificate", c)
            for r in c["rows"]:
                rows.add((r["broker"], r["queue"], r["offset"]))
        check(rows >= set(erased), "%s: erased without a certificate: %s" % (self.name, sorted(set(erased) - rows)[:3]))
        return rows

    def demands(self, topic, now):
        for broker, queues in self.s["need"].get(topic, {}).items():
            for q, to in queues.items():
                check(now["ends"].get((broker, int(q)), 0) >= to, "%s: %s/%s/%s: flushed up to %d, archived up to %s" % (
                    self.s["name"], topic, broker, q, to, now["ends"].get((broker, int(q)))))
        for q, end in self.before.get(topic, {}).get("ends", {}).items():
            check(now["ends"].get(q, 0) >= end, "%s: %s/%s: archived up to %d before, up to %s now" % (self.s["name"], topic, q, end, now["ends"].get(q)))
        for q, low in self.before.get(topic, {}).get("low", {}).items():
            check(now["low"].get(q, 0) >= low, "%s: %s/%s: removed below %d before, below %s now" % (self.s["name"], topic, q, low, now["low"].get(q)))
        must, may = set(self.s["erased"] or []), set(self.s["may"] or [])
        check(now["erased"] <= must | may, "%s: %s: erased, and nobody asked: %s" % (self.s["name"], topic, sorted(now["erased"] - must - may)[:3]))
        check(not (must & now["serials"]) - now["erased"], "%s: %s: to be erased and there: %s" % (
            self.s["name"], topic, sorted((must & now["serials"]) - now["erased"])[:3]))
        if topic in (self.s["typed"] or []):
            check(now["untyped"] == 0, "%s: %s: %d rows lack their columns" % (self.s["name"], topic, now["untyped"]))

    def engines(self, table, files, stored):
        """PyIceberg's plans, and DuckDB, against what pyarrow read."""
        fields = ("broker", "queue_id", "queue_offset", "store_time", "body")
        whole = table.scan(selected_fields=fields).to_arrow()
        check(keys(whole) == set(stored) and whole.num_rows == len(stored), "%s: PyIceberg gives %d rows, the files have %d" % (self.name, whole.num_rows, len(stored)))
        paths = ", ".join("'%s'" % self.path(p).replace("'", "''") for p in files)
        got = con.execute("select broker, queue_id, queue_offset, epoch_us(store_time), sha256(body) from read_parquet([%s]) order by 1, 2, 3" % paths).fetchall()
        body = [(r["broker"], r["queue_id"], r["queue_offset"], micros(r["store_time"]), hashlib.sha256(r["body"]).hexdigest()) for r in whole.to_pylist()]
        check(got == sorted(body), "%s: DuckDB gives other rows than PyIceberg" % self.name)
        times = sorted(stored.values())
        cuts = [(times[len(times) // 3], times[2 * len(times) // 3])]
        for lo, hi in cuts:
            expr = And(GreaterThanOrEqual("store_time", iso(lo)), LessThan("store_time", iso(hi)))
            part = table.scan(row_filter=expr, selected_fields=fields[:4]).to_arrow()
            want = {a for a, t in stored.items() if lo <= t < hi}
            check(keys(part) == want and part.num_rows == len(want), "%s: planned by store_time: %d rows of %d" % (self.name, part.num_rows, len(want)))
        q = sorted({a[:2] for a in stored})[counts["tables"] % len({a[:2] for a in stored})]
        offsets = sorted(a[2] for a in stored if a[:2] == q)
        lo, hi = offsets[len(offsets) // 2], offsets[len(offsets) // 2] + 7
        expr = And(EqualTo("broker", q[0]), And(EqualTo("queue_id", q[1]), And(GreaterThanOrEqual("queue_offset", lo), LessThan("queue_offset", hi))))
        scan = table.scan(row_filter=expr, selected_fields=fields[:3])
        part = scan.to_arrow()
        check(keys(part) == {q + (o,) for o in offsets if lo <= o < hi}, "%s: planned by queue_offset: %d rows" % (self.name, part.num_rows))
        check(len(files) < 12 or len(list(scan.plan_files())) < len(files), self.name + ": a plan by queue_offset leaves no file out")


def id_of(table, snap):
    return snap.snapshot_id, len(table.metadata.snapshots), table.metadata.last_updated_ms, len(table.schema().fields)


def root_of(s, base):
    return s["dir"] + "/" + base.split("://", 1)[1].lstrip("/")


def keys(t):
    return set(zip(t.column("broker").to_pylist(), t.column("queue_id").to_pylist(), t.column("queue_offset").to_pylist()))


def iso(us):
    return (datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=us)).isoformat()


def judge(states, base, truth):
    before = {}
    for s in states:
        n = len(failures)
        try:
            before = State(s, base, truth, before).check()
        except Exception as e:
            check(False, "%s: %s: %s" % (s["name"], type(e).__name__, e))
            if not quiet:
                traceback.print_exc()
        if not quiet:
            print("%s: %s" % (s["name"], "ok" if len(failures) == n else "%d failures" % (len(failures) - n)))


def spoil(e, s):
    """Ways to spoil a state that is well; each must be found."""
    acked, topic = e["acked"][-1], e["acked"][-1]["topic"]
    root = root_of(s, e["base"])
    ends = s["need"][topic][acked["broker"]]
    yield "data is gone", lambda: shutil.rmtree(root + "/default/" + topic + "/data")
    yield "an ack names another message", lambda: acked.update(serial=acked["serial"] + 1)
    yield "a body is another", lambda: e["sent"][acked["serial"]].update(sha256="0")
    yield "a flush had more", lambda: ends.update({str(acked["queue"]): ends[str(acked["queue"])] + 1})
    yield "a message was never sent", lambda: e["sent"].pop(acked["serial"])
    yield "the newest version is gone", lambda: os.remove(max(glob.glob(root + "/**/metadata/v*.json", recursive=True), key=lambda p: (topic in p, len(p), p)))
    for what in "deletions", "erasures":
        if glob.glob(root + "/**/" + what, recursive=True):
            yield "there are no " + what, lambda what=what: [shutil.rmtree(p) for p in glob.glob(root + "/**/" + what, recursive=True)]


def spoiled(e):
    """Spoils the last state in every way, and gives the ways that were not found."""
    missed = []
    for n in range(len(list(spoil(e, e["states"][-1])))):
        bad = copy.deepcopy(e)
        s = bad["states"][-1]
        s["dir"] = os.path.abspath(s["dir"]) + "-spoiled"
        shutil.copytree(e["states"][-1]["dir"], s["dir"], copy_function=os.link)
        way, do = list(spoil(bad, s))[n]
        do()
        File.seen.clear()
        failures.clear()
        judge([s], bad["base"], Truth(bad))
        if not failures:
            missed.append(way)
        shutil.rmtree(s["dir"])
    return n + 1, missed


if len(sys.argv) != 2:
    sys.exit(__doc__)
with open(sys.argv[1]) as f:
    evidence = json.load(f)
quiet = False
con = duckdb.connect()
con.execute("set timezone='UTC'")
judge(evidence["states"], evidence["base"], Truth(evidence))
if failures:
    sys.exit("%d checks failed, first: %s" % (len(failures), failures[0]))
said = "%d states of the bucket, %d messages acked, %d files with %d rows, %d checks" % (
    len(evidence["states"]), len(evidence["acked"]), counts["files"], counts["rows"], counts["checks"])
quiet = True
ways, missed = spoiled(evidence)
if missed:
    sys.exit("a state that was spoiled is taken for well: " + ", ".join(missed))
print(said + "; spoiled in %d ways, found each" % ways)

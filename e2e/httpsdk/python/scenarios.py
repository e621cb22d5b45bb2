"""The scenarios of e2e/interop by the aliyunmq HTTP SDK for Python.

The one argument is the plan, in JSON. A line a scenario is printed, RESULT<tab>name<tab>ok|FAIL<tab>millis<tab>detail.
What only the harness can do is asked for by CALL<tab>number<tab>verb<tab>argument, which it answers on standard input by
number<tab>ok|error<tab>text.
"""
import hashlib
import json
import sys
import time
import traceback

from mq_http_sdk.mq_client import MQClient
from mq_http_sdk.mq_exception import MQExceptionBase
from mq_http_sdk.mq_producer import TopicMessage

PLAN = json.loads(sys.argv[1])
SCENARIOS = {}


def scenario(name):
    def register(f):
        SCENARIOS[name] = f
        return f
    return register


class Harness:
    """The line protocol with the process that started this one."""
    calls = 0

    @classmethod
    def call(cls, verb, argument):
        cls.calls += 1
        print("CALL\t%d\t%s\t%s" % (cls.calls, verb, argument), flush=True)
        answer = sys.stdin.readline().rstrip("\n").split("\t")
        if answer[1] != "ok":
            raise AssertionError("%s %s: %s" % (verb, argument, answer[1:]))


def topic(name, queues=2):
    """Makes a topic of this client's own."""
    name = "http_python_" + name
    Harness.call("topic", "%s %d" % (name, queues))
    return name


def client(place="plain", secret=None):
    at = PLAN[place]
    return MQClient(at["endpoint"], at.get("user") or "key", secret or at.get("secret") or "secret")


def message(body, tag="", key=None, **properties):
    m = TopicMessage(body, tag)
    if key:
        m.set_message_key(key)
    for k, v in properties.items():
        m.put_property(k, v)
    return m


def consume(consumer, n=16, wait=3, ordered=False):
    """The messages of one request; none where the server says that there is none."""
    try:
        if ordered:
            return consumer.consume_message_orderly(n, wait)
        return consumer.consume_message(n, wait)
    except MQExceptionBase as e:
        if e.type != "MessageNotExist":
            raise
        return []


def consume_all(consumer, want, **how):
    got, end = [], time.time() + 30
    while len(got) < want:
        assert time.time() < end, "%d of %d messages came" % (len(got), want)
        got += consume(consumer, **how)
    return got


def ack(consumer, messages):
    consumer.ack_message([m.receipt_handle for m in messages])


def refused(code, f):
    try:
        f()
    except MQExceptionBase as e:
        assert e.type == code, "refused with %s: %s" % (e.type, e)
        return e
    raise AssertionError("not refused")


def same(what, got, want):
    assert got == want, "%s is %r, want %r" % (what, got, want)


@scenario("publish")
def publish():
    t = topic("publish")
    r = client().get_producer("", t).publish_message(message("a lamp", "paid", "order-1", colour="green"))
    same("MD5", r.message_body_md5, hashlib.md5(b"a lamp").hexdigest().upper())
    c = client().get_consumer("", t, "g")
    m = consume_all(c, 1)[0]
    same("message", (m.message_id, m.message_body, m.message_tag, m.get_message_key(), m.get_property("colour")),
         (r.message_id, "a lamp", "paid", "order-1", "green"))
    same("consumed times", m.consumed_times, 1)
    ack(c, [m])


@scenario("text")
def text():
    t = topic("text")
    body = "<a b=\"c\">&amp; ' \n\t 灯 😀 ]]></a>"
    client().get_producer("", t).publish_message(message(body, "标签"))
    m = consume_all(client().get_consumer("", t, "g"), 1)[0]
    same("body", m.message_body, body)
    same("tag", m.message_tag, "标签")


@scenario("body-largest")
def body_largest():
    t = topic("largest")
    body = "x" * (4 << 20)
    p = client().get_producer("", t)
    p.publish_message(message(body))
    m = consume_all(client().get_consumer("", t, "g"), 1)[0]
    same("length", len(m.message_body), len(body))
    refused("InvalidArgument", lambda: p.publish_message(message(body + "x")))


@scenario("empty")
def empty():
    c = client().get_consumer("", topic("empty"), "g")
    before = time.time()
    e = refused("MessageNotExist", lambda: c.consume_message(1, 2))
    assert e.req_id and time.time() - before > 1.5, "waited %.1f s" % (time.time() - before)
    refused("TopicNotExist", lambda: client().get_consumer("", "http_python_nowhere", "g").consume_message(1, 0))


@scenario("instance")
def instance():
    Harness.call("topic", "MQ_INST_1%http_python_instance 2")
    topic("instance")
    client().get_producer("MQ_INST_1", "http_python_instance").publish_message(message("theirs"))
    same("without the instance", consume(client().get_consumer("", "http_python_instance", "g"), wait=0), [])
    c = client().get_consumer("MQ_INST_1", "http_python_instance", "g")
    got = consume_all(c, 1)
    same("body", got[0].message_body, "theirs")
    ack(c, got)


@scenario("tags")
def tags():
    t = topic("tags")
    p = client().get_producer("", t)
    for i in range(30):
        p.publish_message(message(str(i), "abc"[i % 3]))
    got = consume_all(client().get_consumer("", t, "g", "a||c"), 20)
    same("bodies", sorted(int(m.message_body) for m in got), [i for i in range(30) if i % 3 != 1])


@scenario("long-poll")
def long_poll():
    t = topic("poll")
    c = client().get_consumer("", t, "g")
    consume(c, wait=0)
    m = message("soon")
    m.set_start_deliver_time(int(time.time() * 1000) + 2000)
    client().get_producer("", t).publish_message(m)
    before = time.time()
    got = consume(c, wait=20)
    took = time.time() - before
    assert len(got) == 1 and 1 < took < 8, "%d messages after %.1f s" % (len(got), took)


@scenario("delay")
def delay():
    t = topic("delay")
    due = int(time.time() * 1000) + 3000
    m = message("later")
    m.set_start_deliver_time(due)
    client().get_producer("", t).publish_message(m)
    got = consume_all(client().get_consumer("", t, "g"), 1)[0]
    late = time.time() * 1000 - due
    same("due", got.get_start_deliver_time(), due)
    assert 0 <= late < 2000, "%.0f ms late" % late
    return "%.0f ms late" % late


@scenario("ack")
def acked():
    t = topic("ack")
    p, c = client().get_producer("", t), client().get_consumer("", t, "g")
    for i in range(20):
        p.publish_message(message(str(i)))
    got = []
    while len(got) < 20:
        batch = consume_all(c, 1)
        ack(c, batch)
        got += batch
    same("bodies", sorted(int(m.message_body) for m in got), list(range(20)))
    time.sleep(PLAN["invisible"] + 1)
    same("after NextConsumeTime", consume(c, wait=1), [])


@scenario("redelivery")
def redelivery():
    t = topic("again")
    client().get_producer("", t).publish_message(message("again", key="k"))
    c = client().get_consumer("", t, "g")
    first = consume_all(c, 1)[0]
    second = consume_all(c, 1, wait=10)[0]
    same("message", (second.message_id, second.message_body, second.get_message_key()), (first.message_id, "again", "k"))
    same("times", (first.consumed_times, second.consumed_times), (1, 2))
    same("first consumed", second.first_consume_time, first.first_consume_time)
    early = first.next_consume_time - time.time() * 1000
    assert early <= 0, "%.0f ms before NextConsumeTime" % early
    e = refused("MessageNotExist", lambda: ack(c, [first]))
    same("failed handle", e.sub_errors[0]["ReceiptHandle"], first.receipt_handle)
    refused("ReceiptHandleError", lambda: c.ack_message(["nonsense"]))
    ack(c, [second])


@scenario("ordered")
def ordered():
    t = topic("ordered", 4)
    p, c = client().get_producer("", t), client().get_consumer("", t, "g")
    for i in range(24):
        m = message(str(i))
        m.set_sharding_key("key-%d" % (i % 3))
        p.publish_message(m)
    of = {}
    failed = False
    end = time.time() + 60
    while sum(len(v) for v in of.values()) < 24:
        assert time.time() < end, "came: %s" % of
        batch = consume(c, n=4, ordered=True)
        if batch and not failed:  # nothing is acked: the same comes again
            failed = True
            continue
        for m in batch:
            of.setdefault(m.get_sharding_key(), []).append(int(m.message_body))
        if batch:
            ack(c, batch)
    for k, v in of.items():
        same(k, v, sorted(v))


@scenario("transaction")
def transaction():
    t = topic("txn")
    p = client().get_trans_producer("", t, "producers")
    c = client().get_consumer("", t, "g")
    handles = {}
    for body in ("committed", "rolled back"):
        m = message(body)
        m.set_trans_check_immunity_time(60)
        handles[body] = p.publish_message(m).receipt_handle
    same("before the end", consume(c, wait=1), [])
    p.rollback(handles["rolled back"])
    p.commit(handles["committed"])
    refused("MessageNotExist", lambda: p.commit(handles["rolled back"]))
    same("bodies", [m.message_body for m in consume_all(c, 1)], ["committed"])


@scenario("transaction-check")
def transaction_check():
    t = topic("check")
    p = client().get_trans_producer("", t, "producers")
    m = message("in doubt", key="k")
    m.set_trans_check_immunity_time(1)
    sent = p.publish_message(m)
    end, asked = time.time() + 60, []
    while not asked:
        assert time.time() < end, "nobody asked"
        try:
            asked = p.consume_half_message(16, 5)
        except MQExceptionBase as e:
            if e.type != "MessageNotExist":
                raise
    same("asked about", (asked[0].message_id, asked[0].message_body, asked[0].get_message_key()), (sent.message_id, "in doubt", "k"))
    refused("MessageNotExist", lambda: p.commit(sent.receipt_handle))
    p.commit(asked[0].receipt_handle)
    same("body", consume_all(client().get_consumer("", t, "g"), 1)[0].message_body, "in doubt")


@scenario("signed")
def signed():
    c = client("access")
    r = c.get_producer("", PLAN["topic"]).publish_message(message("signed by python", "a b"))
    consumer = c.get_consumer("", PLAN["topic"], "http_python", "a b||x")
    end = time.time() + 30
    while True:
        assert time.time() < end, "it doesn't come"
        got = consume(consumer)
        if got:
            ack(consumer, got)
        if r.message_id in [m.message_id for m in got]:
            return


@scenario("wrong-secret")
def wrong_secret():
    p = client("access", "not-the-secret").get_producer("", PLAN["topic"])
    e = refused("SignatureDoesNotMatch", lambda: p.publish_message(message("x")))
    assert e.request_id and e.host_id, "no request or host id"


@scenario("denied")
def denied():
    p = client("access").get_producer("", PLAN["closed"])
    refused("AccessDenied", lambda: p.publish_message(message("x")))


@scenario("history")
def history():
    t = topic("history")
    p = client().get_producer("", t)
    for i in range(100):
        p.publish_message(message(str(i), "t", "k-%d" % i))
    Harness.call("history", "%s http_python_history" % t)
    c = client().get_consumer("", t, "http_python_history")
    got = {}
    end = time.time() + 60
    while len(got) < 100:
        assert time.time() < end, "%d of 100 came" % len(got)
        for m in (batch := consume(c)):
            got[int(m.message_body)] = (m.message_tag, m.get_message_key())
        if batch:
            ack(c, batch)
    same("messages", got, {i: ("t", "k-%d" % i) for i in range(100)})


def main():
    for name in PLAN["scenarios"]:
        before, verdict, note = time.time(), "ok", ""
        try:
            note = SCENARIOS[name]() or ""
        except Exception as e:  # a scenario may fail in any way
            traceback.print_exc()
            verdict, note = "FAIL", "%s: %s" % (type(e).__name__, e)
        note = " ".join(note.split())[:600]
        print("RESULT\t%s\t%s\t%d\t%s" % (name, verdict, (time.time() - before) * 1000, note), flush=True)


main()

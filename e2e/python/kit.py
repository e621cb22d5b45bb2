"""What a scenario works with: names of its own, clients that are closed after it, and checks."""

import random
import threading
import time

from rocketmq import (ClientConfiguration, ConsumeResult, Credentials, FilterExpression, Message, MessageListener,
                      Producer, PushConsumer, SimpleConsumer, TransactionChecker, TransactionResolution)
from rocketmq.grpc_protocol import FilterType

USUAL = 60  # seconds, for what is there at once if all is well
POLL = 0.02
SIMPLE_WAIT = 3
CALL_LIMIT = 120


class Lacks(Exception):
    """The client has no such thing."""


class Harness:
    """The line protocol with the process that started this one."""

    def __init__(self, source, out):
        self.out, self.lock, self.next, self.open = out, threading.Lock(), 0, {}
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source):
        for line in source:
            f = line.rstrip("\n").split("\t", 2)
            with self.lock:
                waiting = self.open.pop(int(f[0]), None)
            if waiting:
                waiting[1].extend(f)
                waiting[0].set()

    def call(self, verb, argument):
        event, answer = threading.Event(), []
        with self.lock:
            self.next += 1
            self.open[self.next] = (event, answer)
            print(f"CALL\t{self.next}\t{verb}\t{argument}", file=self.out, flush=True)
        if not event.wait(CALL_LIMIT):
            raise AssertionError(f"{verb} {argument}: no answer after {CALL_LIMIT} s")
        if answer[1] != "ok":
            raise AssertionError(f"{verb} {argument}: {answer[1:]}")

    def result(self, name, verdict, millis, detail):
        detail = detail.replace("\n", " ").replace("\t", " ")
        with self.lock:
            print(f"RESULT\t{name}\t{verdict}\t{millis}\t{detail}", file=self.out, flush=True)


def equal(what, want, got):
    if want != got:
        raise AssertionError(f"{what}: want {want!r}, got {got!r}")


def until(what, done, limit=USUAL):
    """Polls: the other side is a server, so there is nothing to be told by."""
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"after {limit} s still not: {what}")
        time.sleep(POLL)


def text(m):
    return m.body.decode(errors="replace")


def once(messages, prefix, n):
    """Demands the set prefix0 … prefix(n-1), each once."""
    seen = {}
    for m in messages:
        seen[text(m)] = seen.get(text(m), 0) + 1
    wrong = [f"{prefix}{i} x{seen.get(f'{prefix}{i}', 0)}" for i in range(n) if seen.pop(f"{prefix}{i}", 0) != 1]
    if wrong or seen:
        raise AssertionError(f"lost or doubled: {wrong}, strangers: {seen}")


class Inbox:
    """Collects what a consumer was given."""

    def __init__(self):
        self.lock, self.all = threading.Lock(), []

    def take(self, m):
        with self.lock:
            self.all.append(m)
        return True

    def messages(self, prefix=""):
        with self.lock:
            return [m for m in self.all if text(m).startswith(prefix)]

    def exactly(self, prefix, n):
        try:
            until(f"{n} messages of {prefix}", lambda: len(self.messages(prefix)) >= n)
        except AssertionError as e:
            raise AssertionError(f"{e} (have {len(self.messages(prefix))})") from None
        once(self.messages(prefix), prefix, n)


class Listener(MessageListener):
    def __init__(self, take):
        self.take = take

    def consume(self, message):
        return ConsumeResult.SUCCESS if self.take(message) else ConsumeResult.FAILURE


class Answers(TransactionChecker):
    """What a producer says when it is asked, by the body: late-commit…, late-rollback…."""

    def __init__(self):
        self.asked = {}

    def check(self, message):
        self.asked[text(message)] = message
        if text(message).startswith("late-commit"):
            return TransactionResolution.COMMIT
        if text(message).startswith("late-rollback"):
            return TransactionResolution.ROLLBACK
        return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED


def config(place):
    return ClientConfiguration(place["grpc"], Credentials(place["user"], place["secret"]), request_timeout=10)


def expression(tags, sql):
    return FilterExpression(sql, FilterType.SQL) if sql else FilterExpression(tags or "*")


def make(topic, body, tag="TagA", keys=None, properties=None, group="", due=0):
    m = Message()
    m.topic, m.body = topic, body if isinstance(body, bytes) else body.encode()
    if tag:
        m.tag = tag
    for key in keys if keys is not None else ["key-" + body]:
        m.keys = key
    for name, value in (properties or {}).items():
        m.add_property(name, value)
    if group:
        m.message_group = group
    if due:
        m.delivery_timestamp = due
    return m


class Env:
    def __init__(self, name, harness, plan):
        self.name, self.harness, self.plan, self.note = name, harness, plan, ""
        self.topic = f"{name.replace('-', '_')}_py_{random.getrandbits(32):x}"
        self.group = "g_" + self.topic
        self.closers = []

    def close(self):
        for c in self.closers:
            threading.Thread(target=self._quietly, args=(c,), daemon=True).start()

    @staticmethod
    def _quietly(close):
        try:
            close()
        except Exception:  # one that can't close, or is closed, is of no interest any more
            pass

    def call(self, verb, *words):
        self.harness.call(verb, " ".join(words))

    def prepare(self, typ=""):
        self.call("topic", self.topic, *([typ] if typ else []))

    def retries(self, attempts, orderly=False):
        self.call("group", self.group, str(attempts), "true" if orderly else "false")

    starting = threading.Lock()  # the client's start can't do with another one at the same time

    def start(self, client):
        with Env.starting:
            client.startup()
        self.closers.append(client.shutdown)
        return client

    def producer(self, place=None, topic=None, checker=None, tls=False):
        return self.start(Producer(config(place or self.plan["plain"]), [topic or self.topic], checker, tls_enable=tls))

    def ready(self, typ=""):
        """Makes the topic and a producer."""
        self.prepare(typ)
        return self.producer()

    def push(self, take, place=None, topic=None, group=None, tags="", sql="", tls=False):
        return self.start(PushConsumer(config(place or self.plan["plain"]), group or self.group, Listener(take),
                                       {topic or self.topic: expression(tags, sql)}, tls_enable=tls))

    def consume(self, **more):
        box = Inbox()
        self.push(box.take, **more)
        return box

    def simple(self, topic=None, group=None, tags="", sql=""):
        return self.start(SimpleConsumer(config(self.plan["plain"]), group or self.group,
                                         {topic or self.topic: expression(tags, sql)}, await_duration=SIMPLE_WAIT))

    def message(self, body, **more):
        return make(self.topic, body, **more)

    def send_many(self, p, prefix, n):
        for i in range(n):
            p.send(self.message(f"{prefix}{i}"))


def leave_ten(p, message):
    for i in range(5):
        for body in ("late-commit", "late-rollback"):
            p.send(message(f"{body}{i}"), p.begin_transaction())


def leave_in_doubt(plan, topic):
    """A process that dies with transactions in doubt."""
    p = Producer(config(plan["plain"]), [topic], Answers())
    p.startup()
    leave_ten(p, lambda body: make(topic, body))
    print("left", flush=True)
    threading.Event().wait()


def receive_all(c, n):
    """Receives and acks until there are n."""
    everything, end = [], time.monotonic() + USUAL
    while len(everything) < n:
        got = c.receive(16, 30)
        for m in got:
            c.ack(m)
        everything += got
        if time.monotonic() > end:
            raise AssertionError(f"{len(everything)} of {n} messages after {USUAL} s")
    return everything

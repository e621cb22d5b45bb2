"""Push consumers: groups, order, filters, retries."""

import threading
import time

from kit import Inbox, equal, once, receive_all, text, until

GROUPS = 6
SQL = "price BETWEEN 10 AND 39 AND region = 'north' AND TAGS = 'TagA'"


def push_rebalance(e):
    """Two members share, exactly once; when one leaves the other has all."""
    p = e.ready()
    one, two = Inbox(), Inbox()
    e.push(one.take)
    b = e.push(two.take)
    n = 0
    while not (one.messages("w") and two.messages("w")):
        p.send(e.message(f"w{n}"))
        n += 1
        if n > 2000:
            raise AssertionError("one of two members gets nothing")
        time.sleep(0.02)
    e.send_many(p, "x", 200)
    until("200 messages at two", lambda: len(one.messages("x")) + len(two.messages("x")) >= 200)
    once(one.messages("x") + two.messages("x"), "x", 200)
    e.note = f"{len(one.messages('x'))} and {len(two.messages('x'))} messages"
    if not one.messages("x") or not two.messages("x"):
        raise AssertionError("not shared: " + e.note)
    b.shutdown()
    e.send_many(p, "y", 100)
    one.exactly("y", 100)


def push_resume(e):
    """Stops and starts: it goes on where it was."""
    p = e.ready()
    e.send_many(p, "first", 50)
    before, after = Inbox(), Inbox()
    c = e.push(before.take)
    before.exactly("first", 50)
    c.shutdown()
    e.send_many(p, "second", 50)
    e.push(after.take)
    after.exactly("second", 50)
    equal("messages after the restart", 50, len(after.messages()))


def push_long_poll(e):
    """What arrives while a poll is held is there at once."""
    p = e.ready()
    box = e.consume()
    e.send_many(p, "warm", 1)
    box.exactly("warm", 1)
    worst = 0
    for i in range(10):
        start, body = time.monotonic(), f"late{i}x"
        p.send(e.message(body))
        until(body, lambda: len(box.messages(body)) == 1)
        worst = max(worst, time.monotonic() - start)
    e.note = f"worst send to receive {worst * 1000:.0f} ms"
    if worst > 3:
        raise AssertionError(e.note)


class Order:
    """Each group's messages come one after the other; a redelivery of one that was seen is counted, a skip is wrong."""

    def __init__(self):
        self.lock, self.last, self.again, self.wrong = threading.Lock(), {}, 0, []

    def take(self, m):
        group, n = text(m).split("/")
        with self.lock:
            last = self.last.get(group, 0)
            if int(n) > last + 1:
                self.wrong.append(f"{text(m)} after {last}")
            elif int(n) <= last:
                self.again += 1
            else:
                self.last[group] = int(n)
        return True

    def done(self, groups, n):
        until(f"{n} messages of each group", lambda: self.wrong or sum(self.last.values()) >= groups * n)
        equal("out of order", [], self.wrong)


def send_ordered(e, p, groups, first, last):
    for i in range(first, last + 1):
        for g in range(groups):
            p.send(e.message(f"g{g}/{i}", group=f"g{g}"))


def orderly_ready(e):
    e.retries(16, orderly=True)
    return e.ready("FIFO")


def push_orderly(e):
    p, o = orderly_ready(e), Order()
    e.push(o.take)
    send_ordered(e, p, GROUPS, 1, 40)
    o.done(GROUPS, 40)
    equal("messages that came twice", 0, o.again)


def orderly_suspend(e):
    """Refuses a message twice: those behind it wait."""
    p, o, refusals = orderly_ready(e), Order(), []

    def take(m):
        if text(m) == "g1/5" and len(refusals) < 2:
            refusals.append(1)
            return False
        return o.take(m)

    e.push(take)
    send_ordered(e, p, 3, 1, 12)
    o.done(3, 12)
    equal("refusals", 2, len(refusals))
    equal("messages that came twice", 0, o.again)


def orderly_rebalance(e):
    """Members come and go while messages of each group are sent."""
    p, o, two = orderly_ready(e), Order(), []
    e.push(o.take)
    send_ordered(e, p, GROUPS, 1, 20)
    b = e.push(lambda m: two.append(1) or o.take(m))
    n, end = 20, time.monotonic() + 60
    while not two and time.monotonic() < end:
        n += 1
        send_ordered(e, p, GROUPS, n, n)
        time.sleep(0.2)
    if not two:
        raise AssertionError("the second member gets nothing")
    send_ordered(e, p, GROUPS, n + 1, n + 20)
    leaving = threading.Thread(target=b.shutdown)
    leaving.start()
    send_ordered(e, p, GROUPS, n + 21, n + 40)
    leaving.join()
    o.done(GROUPS, n + 40)
    e.note = f"{GROUPS * (n + 40)} messages, {len(two)} of them at the one that came and went, {o.again} twice"


def filter_tag(e):
    p = e.ready()
    box = e.consume(tags="A || B")
    for i in range(80):
        tag = "ABCD"[i % 4]
        p.send(e.message(f"{tag}-{i}", tag=tag if tag != "D" else ""))
    until("40 messages", lambda: len(box.messages()) >= 40)
    equal("messages of A and B", [20, 20], [len([m for m in box.messages() if m.tag == t]) for t in "AB"])
    equal("messages", 40, len(box.messages()))


def send_priced(e, p):
    for i in range(60):
        p.send(e.message(f"sql{i}", properties={"price": str(i), **({"region": "north"} if i % 2 == 0 else {})}))


def priced(messages):
    equal("prices", list(range(10, 40, 2)), sorted(int(m.properties["price"]) for m in messages))


def filter_sql(e):
    p = e.ready()
    box = e.consume(sql=SQL)
    send_priced(e, p)
    until("15 messages", lambda: len(box.messages()) >= 15)
    priced(box.messages())


def retry_then_success(e):
    """Refuses each message once."""
    e.retries(4)
    p, box = e.ready(), Inbox()
    e.push(lambda m: m.delivery_attempt > 1 and box.take(m), tags="TagA")
    e.send_many(p, "again", 10)
    box.exactly("again", 10)
    for m in box.messages():
        equal("attempt", 2, m.delivery_attempt)
        equal("topic", e.topic, m.topic)
        equal("keys", {"key-" + text(m)}, set(m.keys))


def retry_dlq(e):
    """Refuses a message until it is a dead letter, and reads that."""
    e.retries(2)
    p, got = e.ready(), []
    e.push(lambda m: got.append(m))
    sent = p.send(e.message("dead"))
    e.call("dead-letter", e.group)
    dead = receive_all(e.simple(topic="%DLQ%" + e.group, group=e.group + "_dead"), 1)[0]
    equal("attempts", [1, 2], [m.delivery_attempt for m in got])
    equal("ids", [sent.message_id] * 3, [m.message_id for m in got + [dead]])
    equal("dead body and keys", ("dead", {"key-dead"}), (text(dead), set(dead.keys)))


SCENARIOS = {
    "push-rebalance": push_rebalance, "push-resume": push_resume, "push-long-poll": push_long_poll, "push-orderly": push_orderly,
    "orderly-suspend": orderly_suspend, "orderly-rebalance": orderly_rebalance, "filter-tag": filter_tag, "filter-sql92": filter_sql,
    "retry-then-success": retry_then_success, "retry-dlq": retry_dlq,
}

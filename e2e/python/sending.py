"""Ways to send, shapes of messages, transactions, times."""

import os
import subprocess
import sys
import time

from kit import USUAL, Answers, equal, leave_ten, text, until

MEBIBYTE = 1 << 20
CHECK_LIMIT = 100
SENT_AHEAD = 3 * 365 * 86400


def send_sync(e):
    p = e.ready()
    sent = {}
    for i in range(40):
        body = f"s{i}"
        sent[body] = p.send(e.message(body, keys=["key-" + body, "second"], properties={"colour": f"blue {i}", "häßlich": "漢字"}))
    box = e.consume()
    box.exactly("s", 40)
    for m in box.messages():
        body = text(m)
        equal("topic", e.topic, m.topic)
        equal("id", sent[body].message_id, m.message_id)
        equal("tag", "TagA", m.tag)
        equal("keys", {"key-" + body, "second"}, set(m.keys))
        equal("property", "blue " + body[1:], m.properties["colour"])
        equal("property beyond ASCII", "漢字", m.properties["häßlich"])
        equal("attempt", 1, m.delivery_attempt)
        if abs(time.time() * 1000 - m.born_timestamp) > 300_000:
            raise AssertionError(f"born at {m.born_timestamp}")


def send_async(e):
    p = e.ready()
    for f in [p.send_async(e.message(f"a{i}")) for i in range(300)]:
        f.result(USUAL)
    e.consume().exactly("a", 300)


def through(e, p, body):
    """Sends one body and demands it back."""
    box = e.consume()
    p.send(e.message(body, keys=["big"]))
    until("the message", lambda: box.messages())
    if box.messages()[0].body != body:
        raise AssertionError(f"the body of {len(body)} bytes came back as {len(box.messages()[0].body)} others")


def refused(what, f):
    try:
        f()
    except Exception as e:
        if "DEADLINE" in str(e):
            raise AssertionError(f"{what} was not refused but timed out: {e}") from None
        return f"{type(e).__name__}: {e}"[:200]
    raise AssertionError(what + " was taken")


def body_largest(e):
    through(e, e.ready(), os.urandom(4 * MEBIBYTE - 1))


def body_too_large(e):
    p = e.ready()
    refused("a body over 4 MiB", lambda: p.send(e.message(os.urandom(4 * MEBIBYTE + 1024), keys=["big"])))
    p.send(e.message("after"))


def properties_many(e):
    p = e.ready()
    box = e.consume()
    want = {f"prop.{i}": "é漢" * 60 + str(i) for i in range(40)}
    p.send(e.message("many", properties=want))
    until("the message", lambda: box.messages())
    equal("properties", want, {k: v for k, v in box.messages()[0].properties.items() if k in want})
    refused("properties over 32 KiB", lambda: p.send(e.message("over", properties={"huge": "x" * 40_000})))
    p.send(e.message("after"))


def timed_ready(e):
    p = e.ready()
    box = e.consume()
    e.send_many(p, "warm", 1)
    box.exactly("warm", 1)
    return p, box


def timed(e):
    """To a second, all that the client's API can say, and one years ahead, which the broker takes."""
    p, box = timed_ready(e)
    p.send(e.message("far", due=int(time.time()) + SENT_AHEAD))
    due = int(time.time()) + 4
    p.send(e.message("later", due=due))
    until("the message", lambda: box.messages("later"))
    late = time.time() - due
    e.note = f"came {late * 1000:.0f} ms after its second"
    if not -0.1 < late < 10:
        raise AssertionError(e.note)
    equal("messages of three years ahead", 0, len(box.messages("far")))


def recall(e):
    """One is called back and never comes; another one too late, which is said."""
    p, box = timed_ready(e)
    due = int(time.time()) + 6
    gone = p.send(e.message("gone", due=due))
    comes = p.send(e.message("comes", due=due))
    equal("recalled", gone.message_id, p.recall_message(e.topic, gone.recall_handle))
    until("the other one", lambda: box.messages("comes"))
    refused("a recall of what has come", lambda: p.recall_message(e.topic, comes.recall_handle))
    equal("recalled and seen", 0, len(box.messages("gone")))


def transaction(e):
    """Commits and rolls back; nothing is seen before its commit."""
    e.prepare("TRANSACTION")
    p = e.producer(checker=Answers())
    box = e.consume()
    sent = {}
    for i in range(30):
        for word in ("commit", "rollback"):
            t = p.begin_transaction()
            sent[f"{word}{i}"] = p.send(e.message(f"{word}{i}"), t).message_id
            t.commit() if word == "commit" else t.rollback()
    box.exactly("commit", 30)
    equal("rolled back and seen", 0, len(box.messages("rollback")))
    for m in box.messages():
        equal("id", sent[text(m)], m.message_id)
        equal("tag", "TagA", m.tag)


def late(e, box, answers):
    until("a question about each, and its commit", lambda: len(answers.asked) == 10 and len(box.messages("late-commit")) == 5, CHECK_LIMIT)
    box.exactly("late-commit", 5)
    equal("rolled back and seen", 0, len(box.messages("late-rollback")))
    for body, m in answers.asked.items():
        equal("topic of the question", e.topic, m.topic)
        equal("its key", {"key-" + body}, set(m.keys))


def transaction_check(e):
    """Leaves transactions in doubt, and ends them when it is asked."""
    e.prepare("TRANSACTION")
    box = e.consume()
    answers = Answers()
    leave_ten(e.producer(checker=answers), e.message)
    equal("seen before the question", 0, len(box.messages()))
    late(e, box, answers)


def transaction_orphan(e):
    """Another process leaves transactions in doubt and is killed; this one is asked in its place."""
    e.prepare("TRANSACTION")
    box = e.consume()
    other = subprocess.Popen([sys.executable, sys.argv[0], sys.argv[1], e.topic], stdout=subprocess.PIPE, text=True)
    said = other.stdout.readline().strip()
    other.kill()
    other.wait()
    equal("said by the other process", "left", said)
    answers = Answers()
    e.producer(checker=answers)
    late(e, box, answers)


SCENARIOS = {
    "send-sync": send_sync, "send-async": send_async, "body-largest": body_largest, "body-too-large": body_too_large,
    "properties-many": properties_many, "timed": timed, "timed-recall": recall, "transaction": transaction,
    "transaction-check": transaction_check, "transaction-orphan": transaction_orphan,
}

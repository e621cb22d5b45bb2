"""Simple consumers, access, TLS, and the archive."""

import time

from consuming import SQL, priced, send_priced
from kit import equal, once, receive_all, text, until
from sending import refused

COLD = 1000


def nothing(c):
    equal("messages that come again", 0, len(c.receive(16, 30)))


def simple_ack(e):
    """What is acked is gone."""
    p = e.ready()
    c = e.simple()
    e.send_many(p, "s", 50)
    once(receive_all(c, 50), "s", 50)
    nothing(c)


def simple_filter(e):
    p = e.ready()
    c = e.simple(sql=SQL)
    send_priced(e, p)
    priced(receive_all(c, 15))
    nothing(c)


def simple_invisible(e):
    """A message comes again when its time is over, which the consumer may change."""
    p = e.ready()
    c = e.simple()
    e.send_many(p, "i", 1)

    def one(attempt):
        got = []
        until(f"attempt {attempt}", lambda: got.extend(c.receive(16, 10)) or got)
        equal("messages", [("i0", attempt)], [(text(m), m.delivery_attempt) for m in got])
        return got[0]

    c.change_invisible_duration(one(1), 2)
    start = time.monotonic()
    one(2)
    took = time.monotonic() - start
    if not 1.9 < took < 9:
        raise AssertionError(f"came again after {took:.1f} s, 2 s were asked for")
    m = one(3)  # after its 10 s
    if time.monotonic() - start < 11:
        raise AssertionError(f"came again after {time.monotonic() - start:.1f} s, before its time was over")
    c.ack(m)
    nothing(c)


def round_trip(e, place, topic, tls=False):
    p = e.producer(place, topic, tls=tls)
    box = e.consume(place=place, topic=topic, tls=tls)
    prefix = e.topic + "-"
    for i in range(20):
        m = e.message(f"{prefix}{i}")
        m.topic = topic
        p.send(m)
    box.exactly(prefix, 20)


def acl_allowed(e):
    round_trip(e, e.plan["access"], e.plan["topic"])


def turned_away(e, place, topic, what):
    def send():
        m = e.message("never")
        m.topic = topic
        e.producer(place, topic).send(m)
    e.note = refused(what, send)


def acl_missing_right(e):
    turned_away(e, e.plan["access"], e.plan["closed"], "a send to a topic that the user may not use")


def acl_wrong_secret(e):
    """Neither a send nor a consumer; one with the right secret gets all meanwhile."""
    wrong = {**e.plan["access"], "secret": e.plan["access"]["secret"] + "x"}
    turned_away(e, wrong, e.plan["topic"], "a send with a wrong secret")
    box = None
    try:
        box = e.consume(place=wrong, topic=e.plan["topic"])
    except Exception:  # turned away already
        return
    e.group += "_right"
    round_trip(e, e.plan["access"], e.plan["topic"])
    equal("messages read with a wrong secret", 0, len(box.messages()))


def tls_enforced(e):
    round_trip(e, e.plan["tls"], e.plan["topic"], tls=True)


def forget(e):
    """Has the topic archived and leaves the hot log without it."""
    e.call("archive-and-trim", e.name, e.topic)


def cold_ready(e):
    p = e.ready()
    e.send_many(p, "cold", COLD)
    forget(e)
    e.call("reset", e.group, e.topic)  # a new group begins at the end
    return p


def history_push(e):
    """Reads the archive with an ordinary consumer, and goes over to what is sent meanwhile."""
    p = cold_ready(e)
    box = e.consume()
    e.send_many(p, "hot", 100)
    box.exactly("cold", COLD)
    box.exactly("hot", 100)
    e.note = f"{COLD} cold, 100 hot"


def history_simple(e):
    cold_ready(e)
    once(receive_all(e.simple(), COLD), "cold", COLD)


def history_same(e):
    """A cold read gives what the hot one gave."""
    p = e.ready()

    def read(group):
        box = e.consume(group=group)
        until("30 messages", lambda: len(box.messages()) >= 30)
        return {m.message_id: (m.topic, m.body, m.tag, sorted(m.keys), sorted(m.properties.items()), m.born_timestamp, m.born_host,
                               m.message_type, m.message_group) for m in box.messages()}

    for i in range(30):
        p.send(e.message(f"same{i}" + (" and the same again" * 1500 if i % 7 == 0 else ""), keys=[f"k{i}"], properties={"n": str(i)}))
    hot = read(e.group)
    forget(e)
    e.call("reset", e.group + "_cold", e.topic)
    cold = read(e.group + "_cold")
    equal("messages", 30, len(hot))
    for message_id, want in hot.items():
        equal("message " + message_id, want, cold.get(message_id))


SCENARIOS = {
    "simple-ack": simple_ack, "simple-filter": simple_filter, "simple-invisible": simple_invisible, "acl-allowed": acl_allowed,
    "acl-missing-right": acl_missing_right, "acl-wrong-secret": acl_wrong_secret, "tls-enforced": tls_enforced,
    "history-push": history_push, "history-simple": history_simple, "history-same-message": history_same,
}

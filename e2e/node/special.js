'use strict';

// Simple consumers, access, TLS, and the archive.

const assert = require('node:assert');
const { SQL, priced, sendPriced } = require('./consuming').shared;
const { once, receiveAll, refused, text, until } = require('./kit');

const COLD = 1000;

async function nothing(c) {
  assert.strictEqual((await c.receive(16, 30_000)).length, 0, 'messages that come again');
}

// simpleAck: what is acked is gone.
async function simpleAck(e) {
  const p = await e.ready();
  const c = await e.simple();
  await e.sendMany(p, 's', 50);
  once(await receiveAll(c, 50), 's', 50);
  await nothing(c);
}

async function simpleFilter(e) {
  const p = await e.ready();
  const c = await e.simple({ sql: SQL });
  await sendPriced(e, p);
  priced(await receiveAll(c, 15));
  await nothing(c);
}

// simpleInvisible: a message comes again when its time is over, which the consumer may change.
async function simpleInvisible(e) {
  const p = await e.ready();
  const c = await e.simple();
  await e.sendMany(p, 'i', 1);
  const one = async attempt => {
    let got = [];
    await until(`attempt ${attempt}`, async () => {
      got = await c.receive(16, 10_000);
      return got.length > 0;
    });
    assert.deepStrictEqual(got.map(m => [text(m), m.deliveryAttempt]), [['i0', attempt]]);
    return got[0];
  };
  await c.changeInvisibleDuration(await one(1), 2000);
  const start = Date.now();
  await one(2);
  const took = Date.now() - start;
  assert(took > 1900 && took < 9000, `came again after ${took} ms, 2 s were asked for`);
  const m = await one(3); // after its 10 s
  assert(Date.now() - start > 11_000, `came again after ${Date.now() - start} ms, before its time was over`);
  await c.ack(m);
  await nothing(c);
}

async function roundTrip(e, place, topic, tls = false) {
  const p = await e.producer({ place, topic, tls });
  const box = await e.consume({ place, topic, tls });
  const prefix = `${e.topic}-`;
  for (let i = 0; i < 20; i++) {
    await p.send({ ...e.message(prefix + i), topic });
  }
  await until('20 messages', () => box.messages(prefix).length >= 20);
  once(box.messages(prefix), prefix, 20);
}

async function turnedAway(e, place, topic, what) {
  e.note = await refused(what, async () => {
    const p = await e.producer({ place, topic });
    await p.send({ ...e.message('never'), topic });
  });
}

async function aclAllowed(e) {
  await roundTrip(e, e.plan.access, e.plan.topic);
}

async function aclMissingRight(e) {
  await turnedAway(e, e.plan.access, e.plan.closed, 'a send to a topic that the user may not use');
}

// aclWrongSecret: neither a send nor a consumer; one with the right secret gets all meanwhile.
async function aclWrongSecret(e) {
  const wrong = { ...e.plan.access, secret: `${e.plan.access.secret}x` };
  await turnedAway(e, wrong, e.plan.topic, 'a send with a wrong secret');
  const box = await e.consume({ place: wrong, topic: e.plan.topic }).catch(() => null);
  if (!box) {
    return; // turned away already
  }
  e.group += '_right';
  await roundTrip(e, e.plan.access, e.plan.topic);
  assert.strictEqual(box.messages().length, 0, 'messages read with a wrong secret');
}

async function tlsEnforced(e) {
  await roundTrip(e, e.plan.tls, e.plan.topic, true);
}

// forget has the topic archived and leaves the hot log without it.
function forget(e) {
  return e.call('archive-and-trim', e.name, e.topic);
}

async function coldReady(e) {
  const p = await e.ready();
  await e.sendMany(p, 'cold', COLD);
  await forget(e);
  await e.call('reset', e.group, e.topic); // a new group begins at the end
  return p;
}

// historyPush reads the archive with an ordinary consumer, and goes over to what is sent meanwhile.
async function historyPush(e) {
  const p = await coldReady(e);
  const box = await e.consume();
  await e.sendMany(p, 'hot', 100);
  await box.exactly('cold', COLD);
  await box.exactly('hot', 100);
  e.note = `${COLD} cold, 100 hot`;
}

async function historySimple(e) {
  await coldReady(e);
  once(await receiveAll(await e.simple(), COLD), 'cold', COLD);
}

// historySame: a cold read gives what the hot one gave.
async function historySame(e) {
  const p = await e.ready();
  const read = async group => {
    const box = await e.consume({ group });
    await until('30 messages', () => box.messages().length >= 30);
    return new Map(box.messages().map(m => [m.messageId, JSON.stringify([
      m.topic, text(m), m.tag, m.keys, [...m.properties].sort(), m.bornTimestamp, m.bornHost, m.offset, m.messageGroup])]));
  };
  for (let i = 0; i < 30; i++) {
    const body = `same${i}${i % 7 === 0 ? ' and the same again'.repeat(1500) : ''}`;
    await p.send(e.message(body, { keys: [`k${i}`, 'same'], properties: { n: String(i) } }));
  }
  const hot = await read(e.group);
  await forget(e);
  await e.call('reset', `${e.group}_cold`, e.topic);
  const cold = await read(`${e.group}_cold`);
  assert.strictEqual(hot.size, 30);
  assert.deepStrictEqual([...cold].sort(), [...hot].sort());
}

module.exports = {
  'simple-ack': simpleAck, 'simple-filter': simpleFilter, 'simple-invisible': simpleInvisible, 'acl-allowed': aclAllowed,
  'acl-missing-right': aclMissingRight, 'acl-wrong-secret': aclWrongSecret, 'tls-enforced': tlsEnforced,
  'history-push': historyPush, 'history-simple': historySimple, 'history-same-message': historySame,
};

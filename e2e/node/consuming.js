'use strict';

// Push consumers: groups, order, filters, retries.

const assert = require('node:assert');
const { setTimeout: sleep } = require('node:timers/promises');
const { Inbox, once, receiveAll, text, until } = require('./kit');

const GROUPS = 6;
const SQL = "price BETWEEN 10 AND 39 AND region = 'north' AND TAGS = 'TagA'";

// pushRebalance: two members share, exactly once; when one leaves the other has all.
async function pushRebalance(e) {
  const p = await e.ready();
  const [one, two] = [new Inbox(), new Inbox()];
  await e.push(one.take);
  const b = await e.push(two.take);
  let warm = 0;
  await until('messages at both', async () => {
    await p.send(e.message(`w${warm++}`));
    return one.messages('w').length > 0 && two.messages('w').length > 0;
  });
  await e.sendMany(p, 'x', 200);
  await until('200 messages at two', () => one.messages('x').length + two.messages('x').length >= 200);
  once([...one.messages('x'), ...two.messages('x')], 'x', 200);
  e.note = `${one.messages('x').length} and ${two.messages('x').length} messages`;
  assert(one.messages('x').length > 0 && two.messages('x').length > 0, `not shared: ${e.note}`);
  await b.shutdown();
  await e.sendMany(p, 'y', 100);
  await one.exactly('y', 100);
}

// pushResume stops and starts: it goes on where it was.
async function pushResume(e) {
  const p = await e.ready();
  await e.sendMany(p, 'first', 50);
  const [before, after] = [new Inbox(), new Inbox()];
  const c = await e.push(before.take);
  await before.exactly('first', 50);
  await c.shutdown();
  await e.sendMany(p, 'second', 50);
  await e.push(after.take);
  await after.exactly('second', 50);
  assert.strictEqual(after.messages().length, 50, 'messages after the restart');
}

// pushLongPoll: what arrives while a poll is held is there at once.
async function pushLongPoll(e) {
  const p = await e.ready();
  const box = await e.consume();
  await e.sendMany(p, 'warm', 1);
  await box.exactly('warm', 1);
  let worst = 0;
  for (let i = 0; i < 10; i++) {
    const start = Date.now();
    const body = `late${i}x`;
    await p.send(e.message(body));
    await until(body, () => box.messages(body).length === 1);
    worst = Math.max(worst, Date.now() - start);
  }
  e.note = `worst send to receive ${worst} ms`;
  assert(worst < 3000, e.note);
}

// Order: each group's messages come one after the other; a redelivery of one that was seen is counted, a skip is wrong.
class Order {
  constructor() {
    Object.assign(this, { last: new Map(), again: 0, wrong: [] });
    this.take = m => {
      const [group, number] = text(m).split('/');
      const n = Number(number);
      const last = this.last.get(group) ?? 0;
      if (n > last + 1) {
        this.wrong.push(`${text(m)} after ${last}`);
      } else if (n <= last) {
        this.again++;
      } else {
        this.last.set(group, n);
      }
      return true;
    };
  }

  async done(groups, n) {
    const sum = () => [...this.last.values()].reduce((a, b) => a + b, 0);
    await until(`${n} messages of each group`, () => this.wrong.length > 0 || sum() >= groups * n);
    assert.deepStrictEqual(this.wrong, [], 'out of order');
  }
}

async function sendOrdered(e, p, groups, first, last) {
  for (let i = first; i <= last; i++) {
    for (let g = 0; g < groups; g++) {
      await p.send(e.message(`g${g}/${i}`, { messageGroup: `g${g}` }));
    }
  }
}

async function orderlyReady(e) {
  await e.retries(16, true);
  return e.ready('FIFO');
}

async function pushOrderly(e) {
  const p = await orderlyReady(e);
  const o = new Order();
  await e.push(o.take);
  await sendOrdered(e, p, GROUPS, 1, 40);
  await o.done(GROUPS, 40);
  assert.strictEqual(o.again, 0, 'messages that came twice');
}

// orderlySuspend refuses a message twice: those behind it wait.
async function orderlySuspend(e) {
  const p = await orderlyReady(e);
  const o = new Order();
  let refusals = 0;
  await e.push(m => {
    if (text(m) === 'g1/5' && refusals < 2) {
      refusals++;
      return false;
    }
    return o.take(m);
  });
  await sendOrdered(e, p, 3, 1, 12);
  await o.done(3, 12);
  assert.deepStrictEqual([refusals, o.again], [2, 0], 'refusals, and messages that came twice');
  e.note = 'with an exponential retry policy, the only one that the client knows in order';
}

// orderlyRebalance: members come and go while messages of each group are sent.
async function orderlyRebalance(e) {
  const p = await orderlyReady(e);
  const o = new Order();
  let two = 0;
  await e.push(o.take);
  await sendOrdered(e, p, GROUPS, 1, 20);
  const b = await e.push(m => {
    two++;
    return o.take(m);
  });
  let n = 20;
  for (const end = Date.now() + 60_000; two === 0;) {
    assert(Date.now() < end, 'the second member gets nothing');
    n++;
    await sendOrdered(e, p, GROUPS, n, n);
    await sleep(200);
  }
  await sendOrdered(e, p, GROUPS, n + 1, n + 20);
  await Promise.all([b.shutdown(), sendOrdered(e, p, GROUPS, n + 21, n + 40)]);
  await o.done(GROUPS, n + 40);
  e.note = `${GROUPS * (n + 40)} messages, ${two} of them at the one that came and went, ${o.again} twice`;
}

async function filterTag(e) {
  const p = await e.ready();
  const box = await e.consume({ tags: 'A || B' });
  for (let i = 0; i < 80; i++) {
    const tag = 'ABCD'[i % 4];
    await p.send(e.message(`${tag}-${i}`, { tag: tag === 'D' ? undefined : tag }));
  }
  await until('40 messages', () => box.messages().length >= 40);
  const count = tag => box.messages().filter(m => m.tag === tag).length;
  assert.deepStrictEqual([count('A'), count('B'), box.messages().length], [20, 20, 40]);
}

async function sendPriced(e, p) {
  for (let i = 0; i < 60; i++) {
    await p.send(e.message(`sql${i}`, { properties: { price: String(i), ...(i % 2 === 0 && { region: 'north' }) } }));
  }
}

function priced(messages) {
  const got = messages.map(m => Number(m.properties.get('price'))).sort((a, b) => a - b);
  assert.deepStrictEqual(got, Array.from({ length: 15 }, (_, i) => 10 + 2 * i), 'prices');
}

async function filterSQL(e) {
  const p = await e.ready();
  const box = await e.consume({ sql: SQL });
  await sendPriced(e, p);
  await until('15 messages', () => box.messages().length >= 15);
  priced(box.messages());
}

// retryThenSuccess refuses each message once.
async function retryThenSuccess(e) {
  await e.retries(4);
  const p = await e.ready();
  const box = new Inbox();
  await e.push(m => m.deliveryAttempt > 1 && box.take(m), { tags: 'TagA' });
  await e.sendMany(p, 'again', 10);
  await box.exactly('again', 10);
  for (const m of box.messages()) {
    assert.deepStrictEqual([m.deliveryAttempt, m.topic, m.keys], [2, e.topic, [`key-${text(m)}`]]);
  }
}

// retryDLQ refuses a message until it is a dead letter, and reads that.
async function retryDLQ(e) {
  await e.retries(2);
  const p = await e.ready();
  const got = [];
  await e.push(m => {
    got.push(m);
    return false;
  });
  const sent = await p.send(e.message('dead'));
  await e.call('dead-letter', e.group);
  const [dead] = await receiveAll(await e.simple({ topic: `%DLQ%${e.group}`, group: `${e.group}_dead` }), 1);
  assert.deepStrictEqual(got.map(m => m.deliveryAttempt), [1, 2]);
  assert.deepStrictEqual([...got, dead].map(m => m.messageId), Array(3).fill(sent.messageId));
  assert.deepStrictEqual([text(dead), dead.keys], ['dead', ['key-dead']]);
}

module.exports = {
  'push-rebalance': pushRebalance, 'push-resume': pushResume, 'push-long-poll': pushLongPoll, 'push-orderly': pushOrderly,
  'orderly-suspend': orderlySuspend, 'orderly-rebalance': orderlyRebalance, 'filter-tag': filterTag, 'filter-sql92': filterSQL,
  'retry-then-success': retryThenSuccess, 'retry-dlq': retryDLQ,
};
Object.defineProperty(module.exports, 'shared', { value: { SQL, priced, sendPriced } });

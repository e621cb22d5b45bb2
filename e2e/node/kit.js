'use strict';

// What a scenario works with: names of its own, clients that are closed after it, and checks.

const assert = require('node:assert');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const { ConsumeResult, FilterExpression, Producer, PushConsumer, SimpleConsumer } = require('rocketmq-client-nodejs');
const { FilterType, TransactionResolution } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');

const USUAL = 60_000; // ms, for what is there at once if all is well
const POLL = 20;
const SIMPLE_WAIT = 3000;
const CALL_LIMIT = 120_000;
const logger = { info() {}, debug() {}, warn: console.error, error: console.error };

class Lacks extends Error {}

// Harness is the line protocol with the process that started this one.
class Harness {
  constructor() {
    this.next = 0;
    this.open = new Map();
    readline.createInterface({ input: process.stdin }).on('line', line => {
      const f = line.split('\t');
      this.open.get(Number(f[0]))?.(f);
      this.open.delete(Number(f[0]));
    });
  }

  async call(verb, argument) {
    const id = ++this.next;
    const answer = new Promise(resolve => this.open.set(id, resolve));
    process.stdout.write(`CALL\t${id}\t${verb}\t${argument}\n`);
    const f = await Promise.race([answer, sleep(CALL_LIMIT, ['', 'no answer'], { ref: false })]);
    assert.strictEqual(f[1], 'ok', `${verb} ${argument}: ${f.slice(1).join(' ')}`);
  }

  result(name, verdict, millis, detail) {
    process.stdout.write(`RESULT\t${name}\t${verdict}\t${millis}\t${detail.replace(/[\n\t]/g, ' ')}\n`);
  }
}

// until polls: the other side is a server, so there is nothing to be told by.
async function until(what, done, limit = USUAL) {
  for (const end = Date.now() + limit; !(await done());) {
    assert(Date.now() < end, `after ${limit / 1000} s still not: ${what}`);
    await sleep(POLL);
  }
}

const text = m => m.body.toString();

// once demands the set prefix0 … prefix(n-1), each once.
function once(messages, prefix, n) {
  const got = messages.map(text).sort();
  const want = Array.from({ length: n }, (_, i) => prefix + i).sort();
  const lost = want.filter(b => !got.includes(b));
  const doubled = got.filter((b, i) => b === got[i - 1]);
  const strangers = got.filter(b => !want.includes(b));
  assert(lost.length + doubled.length + strangers.length === 0, `lost ${lost}; doubled ${doubled}; strangers ${strangers}`);
}

// Inbox collects what a consumer was given.
class Inbox {
  constructor() {
    this.all = [];
    this.take = m => {
      this.all.push(m);
      return true;
    };
  }

  messages(prefix = '') {
    return this.all.filter(m => text(m).startsWith(prefix));
  }

  async exactly(prefix, n) {
    await until(`${n} messages of ${prefix}`, () => this.messages(prefix).length >= n).catch(e => {
      throw new Error(`${e.message} (have ${this.messages(prefix).length})`);
    });
    once(this.messages(prefix), prefix, n);
  }
}

// Answers is what a producer says when it is asked, by the body: late-commit…, late-rollback….
class Answers {
  constructor() {
    this.asked = new Map();
  }

  async check(m) {
    this.asked.set(text(m), m);
    if (text(m).startsWith('late-commit')) {
      return TransactionResolution.COMMIT;
    }
    return text(m).startsWith('late-rollback') ? TransactionResolution.ROLLBACK : TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED;
  }
}

function config(place, tls = false) {
  const c = { endpoints: place.grpc, namespace: '', requestTimeout: 10_000, sslEnabled: tls, logger };
  if (place.user) {
    c.sessionCredentials = { accessKey: place.user, accessSecret: place.secret };
  }
  return c;
}

const expression = ({ tags, sql }) => (sql ? new FilterExpression(sql, FilterType.SQL) : new FilterExpression(tags || '*'));

function make(topic, body, more = {}) {
  return {
    topic, body: Buffer.isBuffer(body) ? body : Buffer.from(body), tag: 'TagA', keys: [`key-${body.slice(0, 40)}`],
    ...more, properties: new Map(Object.entries(more.properties ?? {})),
  };
}

class Env {
  constructor(name, harness, plan) {
    Object.assign(this, { name, harness, plan, note: '', closers: [] });
    this.topic = `${name.replaceAll('-', '_')}_node_${Math.floor(Math.random() * 2 ** 32).toString(36)}`;
    this.group = `g_${this.topic}`;
  }

  close() {
    for (const c of this.closers) {
      c().catch(() => {}); // one that can't close, or is closed, is of no interest any more
    }
  }

  call(verb, ...words) {
    return this.harness.call(verb, words.join(' '));
  }

  prepare(typ) {
    return this.call('topic', this.topic, ...(typ ? [typ] : []));
  }

  // retries makes the group. In order the client knows the exponential policy alone: by any other, the default one
  // too, it gives a message up that is refused once.
  retries(attempts, orderly = false) {
    return this.call('group', this.group, attempts, orderly, ...(orderly ? ['exponential'] : []));
  }

  async start(client) {
    await client.startup();
    this.closers.push(() => client.shutdown());
    return client;
  }

  producer({ place, topic, checker, tls } = {}) {
    return this.start(new Producer({ ...config(place ?? this.plan.plain, tls), topics: [topic ?? this.topic], checker }));
  }

  // ready makes the topic and a producer.
  async ready(typ) {
    await this.prepare(typ);
    return this.producer();
  }

  push(take, o = {}) {
    const consume = async m => ((await take(m)) ? ConsumeResult.SUCCESS : ConsumeResult.FAILURE);
    return this.start(new PushConsumer({
      ...config(o.place ?? this.plan.plain, o.tls), consumerGroup: o.group ?? this.group,
      subscriptions: new Map([[o.topic ?? this.topic, expression(o)]]), messageListener: { consume },
    }));
  }

  async consume(o) {
    const box = new Inbox();
    await this.push(box.take, o);
    return box;
  }

  simple(o = {}) {
    return this.start(new SimpleConsumer({
      ...config(this.plan.plain), consumerGroup: o.group ?? this.group,
      subscriptions: new Map([[o.topic ?? this.topic, expression(o)]]), awaitDuration: SIMPLE_WAIT,
    }));
  }

  message(body, more) {
    return make(this.topic, body, more);
  }

  async sendMany(p, prefix, n) {
    for (let i = 0; i < n; i++) {
      await p.send(this.message(prefix + i));
    }
  }
}

// receiveAll receives and acks until there are n.
async function receiveAll(c, n) {
  const all = [];
  for (const end = Date.now() + USUAL; all.length < n;) {
    const got = await c.receive(16, 30_000);
    for (const m of got) {
      await c.ack(m);
    }
    all.push(...got);
    assert(Date.now() < end, `${all.length} of ${n} messages in time`);
  }
  return all;
}

async function refused(what, f) {
  let why;
  await f().catch(e => {
    why = String(e.cause?.cause ?? e.cause ?? e);
  });
  assert(why, `${what} was taken`);
  assert(!why.includes('DEADLINE'), `${what} was not refused but timed out: ${why}`);
  return why.slice(0, 200);
}

async function leaveTen(p, message) {
  for (let i = 0; i < 5; i++) {
    for (const body of ['late-commit', 'late-rollback']) {
      await p.send(message(body + i), p.beginTransaction());
    }
  }
}

// leaveInDoubt is a process that dies with transactions in doubt.
async function leaveInDoubt(plan, topic) {
  const p = new Producer({ ...config(plan.plain), topics: [topic], checker: new Answers() });
  await p.startup();
  await leaveTen(p, body => make(topic, body));
  process.stdout.write('left\n');
}

module.exports = { Answers, Env, Harness, Inbox, Lacks, leaveInDoubt, leaveTen, once, receiveAll, refused, text, until };

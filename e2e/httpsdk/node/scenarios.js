'use strict';
// The scenarios of e2e/interop by the aliyunmq HTTP SDK for Node.js. The lines that it prints and reads are those of
// ../python/scenarios.py.

const assert = require('assert');
const crypto = require('crypto');
const readline = require('readline');
const {MQClient, MessageProperties} = require('@aliyunmq/mq-http-sdk');

const plan = JSON.parse(process.argv[2]);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const answers = new Map();
let calls = 0;
const lines = readline.createInterface({input: process.stdin});
lines.on('line', (line) => {
  const [n, ...answer] = line.split('\t');
  answers.get(Number(n))(answer);
});

async function call(verb, argument) {
  const n = ++calls;
  const answer = new Promise((resolve) => answers.set(n, resolve));
  process.stdout.write(`CALL\t${n}\t${verb}\t${argument}\n`);
  const got = await answer;
  assert.strictEqual(got[0], 'ok', `${verb} ${argument}: ${got}`);
}

async function topic(name, queues = 2) {
  await call('topic', `http_node_${name} ${queues}`);
  return `http_node_${name}`;
}

function client(place = 'plain', secret) {
  const at = plan[place];
  return new MQClient(at.endpoint, at.user || 'key', secret || at.secret || 'secret');
}

function properties(o) {
  const p = new MessageProperties();
  for (const [k, v] of Object.entries(o)) {
    if (typeof p[k] === 'function') p[k](v);
    else p.putProperty(k, v);
  }
  return p;
}

async function publish(producer, body, tag, props) {
  const r = await producer.publishMessage(body, tag, props && properties(props));
  assert.strictEqual(r.code, 201);
  assert(r.requestId, 'no request id');
  return r.body;
}

// The messages of one request; none where the server says that there is none.
async function consume(consumer, {n = 16, wait = 3, how = 'consumeMessage'} = {}) {
  try {
    return (await consumer[how](n, wait)).body;
  } catch (e) {
    if (e.Code !== 'MessageNotExist') throw e;
    return [];
  }
}

async function consumeAll(consumer, want, how) {
  const got = [];
  for (const end = Date.now() + 30000; got.length < want;) {
    assert(Date.now() < end, `${got.length} of ${want} messages came`);
    got.push(...await consume(consumer, how));
  }
  return got;
}

async function ack(consumer, messages) {
  const r = await consumer.ackMessage(messages.map((m) => m.ReceiptHandle));
  assert.strictEqual(r.code, 204, JSON.stringify(r.body));
}

async function refused(code, promise) {
  const e = await promise.then(() => assert.fail('not refused'), (err) => err);
  assert.strictEqual(e.Code, code, e.message);
  assert(e.RequestId, 'no request id');
}

// The SDK answers an ack that failed in part with the handles that did.
async function failed(code, promise) {
  const r = await promise;
  assert.strictEqual(r.code, 404);
  assert.strictEqual(r.body[0].ErrorCode, code);
  return r.body[0];
}

const numbers = (messages) => messages.map((m) => Number(m.MessageBody)).sort((a, b) => a - b);
const range = (n) => Array.from({length: n}, (_, i) => i);

const scenarios = {
  async publish() {
    const t = await topic('publish');
    const r = await publish(client().getProducer('', t), 'a lamp', 'paid', {messageKey: 'order-1', colour: 'green'});
    assert.strictEqual(r.MessageBodyMD5, crypto.createHash('md5').update('a lamp').digest('hex').toUpperCase());
    const c = client().getConsumer('', t, 'g');
    const [m] = await consumeAll(c, 1);
    assert.deepStrictEqual([m.MessageId, m.MessageBody, m.MessageTag, m.MessageKey, m.Properties, m.ConsumedTimes],
      [r.MessageId, 'a lamp', 'paid', 'order-1', {colour: 'green'}, '1']);
    await ack(c, [m]);
  },

  async text() {
    const t = await topic('text');
    const body = '<a b="c">&amp; \' \n\t 灯 😀 ></a>'; // the SDK can't send what ends CDATA
    await publish(client().getProducer('', t), body, '标签');
    const [m] = await consumeAll(client().getConsumer('', t, 'g'), 1);
    assert.deepStrictEqual([m.MessageBody, m.MessageTag], [body, '标签']);
  },

  async 'body-largest'() {
    const t = await topic('largest');
    const body = 'x'.repeat(4 << 20);
    const p = client().getProducer('', t);
    await publish(p, body);
    const [m] = await consumeAll(client().getConsumer('', t, 'g'), 1);
    assert.strictEqual(m.MessageBody.length, body.length);
    await refused('InvalidArgument', p.publishMessage(body + 'x'));
  },

  async empty() {
    const c = client().getConsumer('', await topic('empty'), 'g');
    const before = Date.now();
    await refused('MessageNotExist', c.consumeMessage(1, 2));
    assert(Date.now() - before > 1500, `waited ${Date.now() - before} ms`);
    await refused('TopicNotExist', client().getConsumer('', 'http_node_nowhere', 'g').consumeMessage(1));
  },

  async instance() {
    await call('topic', 'MQ_INST_1%http_node_instance 2');
    await topic('instance');
    await publish(client().getProducer('MQ_INST_1', 'http_node_instance'), 'theirs');
    assert.deepStrictEqual(await consume(client().getConsumer('', 'http_node_instance', 'g'), {wait: 0}), []);
    const c = client().getConsumer('MQ_INST_1', 'http_node_instance', 'g');
    const got = await consumeAll(c, 1);
    assert.strictEqual(got[0].MessageBody, 'theirs');
    await ack(c, got);
  },

  async tags() {
    const t = await topic('tags');
    const p = client().getProducer('', t);
    for (const i of range(30)) await publish(p, String(i), 'abc'[i % 3]);
    const got = await consumeAll(client().getConsumer('', t, 'g', 'a||c'), 20);
    assert.deepStrictEqual(numbers(got), range(30).filter((i) => i % 3 !== 1));
  },

  async 'long-poll'() {
    const t = await topic('poll');
    const c = client().getConsumer('', t, 'g');
    await consume(c, {wait: 0});
    const waits = consume(c, {wait: 20});
    await sleep(1000);
    const before = Date.now();
    await publish(client().getProducer('', t), 'soon');
    const got = await waits;
    const took = Date.now() - before;
    assert(got.length === 1 && took < 3000, `${got.length} messages after ${took} ms`);
    return `${took} ms from send to receive`;
  },

  async delay() {
    const t = await topic('delay');
    const due = Date.now() + 3000;
    await publish(client().getProducer('', t), 'later', '', {startDeliverTime: due});
    const [m] = await consumeAll(client().getConsumer('', t, 'g'), 1);
    const late = Date.now() - due;
    assert.strictEqual(m.StartDeliverTime, due);
    assert(late >= 0 && late < 2000, `${late} ms late`);
    return `${late} ms late`;
  },

  async ack() {
    const t = await topic('ack');
    const p = client().getProducer('', t);
    const c = client().getConsumer('', t, 'g');
    for (const i of range(20)) await publish(p, String(i));
    const got = [];
    while (got.length < 20) {
      const batch = await consumeAll(c, 1);
      await ack(c, batch);
      got.push(...batch);
    }
    assert.deepStrictEqual(numbers(got), range(20));
    await sleep(plan.invisible * 1000 + 1000);
    assert.deepStrictEqual(await consume(c, {wait: 1}), []);
  },

  async redelivery() {
    const t = await topic('again');
    await publish(client().getProducer('', t), 'again', '', {messageKey: 'k'});
    const c = client().getConsumer('', t, 'g');
    const [first] = await consumeAll(c, 1);
    const [second] = await consumeAll(c, 1, {wait: 10});
    const early = Number(first.NextConsumeTime) - Date.now();
    assert.deepStrictEqual([second.MessageId, second.MessageBody, second.MessageKey, second.ConsumedTimes, second.FirstConsumeTime],
      [first.MessageId, 'again', 'k', '2', first.FirstConsumeTime]);
    assert(early <= 0, `${early} ms before NextConsumeTime`);
    const e = await failed('MessageNotExist', c.ackMessage([first.ReceiptHandle]));
    assert.strictEqual(e.ReceiptHandle, first.ReceiptHandle);
    await failed('ReceiptHandleError', c.ackMessage(['nonsense']));
    await ack(c, [second]);
  },

  async ordered() {
    const t = await topic('ordered', 4);
    const p = client().getProducer('', t);
    const c = client().getConsumer('', t, 'g');
    for (const i of range(24)) await publish(p, String(i), '', {shardingKey: `key-${i % 3}`});
    const of = {};
    let came = 0;
    let left = true; // the first batch is not acked: it comes again
    for (const end = Date.now() + 60000; came < 24;) {
      assert(Date.now() < end, JSON.stringify(of));
      const batch = await consume(c, {n: 4, how: 'consumeMessageOrderly'});
      if (batch.length === 0) continue;
      if (left) {
        left = false;
        continue;
      }
      for (const m of batch) (of[m.ShardingKey] = of[m.ShardingKey] || []).push(m);
      came += batch.length;
      await ack(c, batch);
    }
    for (const list of Object.values(of)) assert.deepStrictEqual(list.map((m) => Number(m.MessageBody)), numbers(list));
  },

  async transaction() {
    const t = await topic('txn');
    const p = client().getTransProducer('', t, 'producers');
    const c = client().getConsumer('', t, 'g');
    const commit = await publish(p, 'committed', '', {transCheckImmunityTime: 60});
    const back = await publish(p, 'rolled back', '', {transCheckImmunityTime: 60});
    assert.deepStrictEqual(await consume(c, {wait: 1}), []);
    assert.strictEqual((await p.rollback(back.ReceiptHandle)).code, 204);
    assert.strictEqual((await p.commit(commit.ReceiptHandle)).code, 204);
    await failed('MessageNotExist', p.commit(back.ReceiptHandle));
    assert.deepStrictEqual((await consumeAll(c, 1)).map((m) => m.MessageBody), ['committed']);
  },

  async 'transaction-check'() {
    const t = await topic('check');
    const p = client().getTransProducer('', t, 'producers');
    const sent = await publish(p, 'in doubt', '', {messageKey: 'k', transCheckImmunityTime: 1});
    const [asked] = await consumeAll(p, 1, {wait: 5, how: 'consumeHalfMessage'});
    assert.deepStrictEqual([asked.MessageId, asked.MessageBody, asked.MessageKey], [sent.MessageId, 'in doubt', 'k']);
    await failed('MessageNotExist', p.commit(sent.ReceiptHandle));
    assert.strictEqual((await p.commit(asked.ReceiptHandle)).code, 204);
    const [m] = await consumeAll(client().getConsumer('', t, 'g'), 1);
    assert.strictEqual(m.MessageBody, 'in doubt');
  },

  async signed() {
    const c = client('access');
    const r = await publish(c.getProducer('', plan.topic), 'signed by node', 'a b');
    const consumer = c.getConsumer('', plan.topic, 'http_node', 'a b||x');
    for (const end = Date.now() + 30000; ;) {
      assert(Date.now() < end, 'it does not come');
      const got = await consume(consumer);
      if (got.length > 0) await ack(consumer, got);
      if (got.some((m) => m.MessageId === r.MessageId)) return;
    }
  },

  async 'wrong-secret'() {
    await refused('SignatureDoesNotMatch', client('access', 'not-the-secret').getProducer('', plan.topic).publishMessage('x'));
  },

  async denied() {
    await refused('AccessDenied', client('access').getProducer('', plan.closed).publishMessage('x'));
  },

  async history() {
    const t = await topic('history');
    const p = client().getProducer('', t);
    for (const i of range(100)) await publish(p, String(i), 't', {messageKey: `k-${i}`});
    await call('history', `${t} http_node_history`);
    const c = client().getConsumer('', t, 'http_node_history');
    const got = [];
    for (const end = Date.now() + 60000; got.length < 100;) {
      assert(Date.now() < end, `${got.length} of 100 came`);
      const batch = await consume(c);
      if (batch.length > 0) await ack(c, batch);
      got.push(...batch);
    }
    assert.deepStrictEqual(numbers(got), range(100));
    for (const m of got) assert.deepStrictEqual([m.MessageTag, m.MessageKey], ['t', `k-${m.MessageBody}`]);
  },
};

async function main() {
  for (const name of plan.scenarios) {
    const before = Date.now();
    let [verdict, note] = ['ok', ''];
    try {
      note = await scenarios[name]() || '';
    } catch (e) {
      console.error(name, e);
      [verdict, note] = ['FAIL', String(e.message || e).replace(/\s+/g, ' ').slice(0, 600)];
    }
    process.stdout.write(`RESULT\t${name}\t${verdict}\t${Date.now() - before}\t${note}\n`);
  }
  lines.close();
}

main();

'use strict';

// Ways to send, shapes of messages, transactions, times.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const { Answers, leaveTen, refused, text, until } = require('./kit');

const MEBIBYTE = 1 << 20;
// What the client's library takes at most is 4 MiB with all that is around the body.
const ROOM = 4 << 10;
const CHECK_LIMIT = 100_000;
const THREE_YEARS = 3 * 365 * 86_400_000;

async function sendSync(e) {
  const p = await e.ready();
  const sent = new Map();
  for (let i = 0; i < 40; i++) {
    const body = `s${i}`;
    const properties = { colour: `blue ${i}`, häßlich: '漢字' };
    sent.set(body, await p.send(e.message(body, { keys: [`key-${body}`, 'second'], properties })));
  }
  const box = await e.consume();
  await box.exactly('s', 40);
  for (const m of box.messages()) {
    const body = text(m);
    assert.deepStrictEqual(
      [m.topic, m.messageId, m.tag, m.keys, m.properties.get('colour'), m.properties.get('häßlich'), m.deliveryAttempt, m.offset],
      [e.topic, sent.get(body).messageId, 'TagA', [`key-${body}`, 'second'], `blue ${body.slice(1)}`, '漢字', 1, sent.get(body).offset], body);
    assert(Math.abs(Date.now() - m.bornTimestamp) < 300_000, `born at ${m.bornTimestamp}`);
  }
}

async function sendAsync(e) {
  const p = await e.ready();
  await Promise.all(Array.from({ length: 300 }, (_, i) => p.send(e.message(`a${i}`))));
  await (await e.consume()).exactly('a', 300);
}

// through sends one body and demands it back.
async function through(e, p, body) {
  const box = await e.consume();
  await p.send(e.message(body, { keys: ['big'] }));
  await until('the message', () => box.messages().length > 0);
  assert(box.messages()[0].body.equals(body), `the body of ${body.length} bytes came back as ${box.messages()[0].body.length} others`);
}

async function bodyLargest(e) {
  await through(e, await e.ready(), randomBytes(4 * MEBIBYTE - ROOM));
}

async function bodyTooLarge(e) {
  const p = await e.ready();
  await refused('a body over 4 MiB', () => p.send(e.message(randomBytes(4 * MEBIBYTE + 1024), { keys: ['big'] })));
  await p.send(e.message('after'));
}

async function propertiesMany(e) {
  const p = await e.ready();
  const box = await e.consume();
  const properties = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`prop.${i}`, 'é漢'.repeat(60) + i]));
  await p.send(e.message('many', { properties }));
  await until('the message', () => box.messages().length > 0);
  for (const [name, want] of Object.entries(properties)) {
    assert.strictEqual(box.messages()[0].properties.get(name), want);
  }
  await refused('properties over 32 KiB', () => p.send(e.message('over', { properties: { huge: 'x'.repeat(40_000) } })));
  await p.send(e.message('after'));
}

async function timedReady(e) {
  const p = await e.ready();
  const box = await e.consume();
  await e.sendMany(p, 'warm', 1);
  await box.exactly('warm', 1);
  return [p, box];
}

// timed sends to a time, and one to a time years ahead, which the broker takes.
async function timed(e) {
  const [p, box] = await timedReady(e);
  await p.send(e.message('far', { deliveryTimestamp: new Date(Date.now() + THREE_YEARS) }));
  const due = Date.now() + 3700;
  await p.send(e.message('later', { deliveryTimestamp: new Date(due) }));
  await until('the message', () => box.messages('later').length > 0);
  const late = Date.now() - due;
  e.note = `came ${late} ms after its time`;
  assert(late > -100 && late < 10_000, e.note);
  assert.strictEqual(box.messages('far').length, 0);
}

// recall: one is called back and never comes; another one too late, which is said.
async function recall(e) {
  const [p, box] = await timedReady(e);
  const deliveryTimestamp = new Date(Date.now() + 5000);
  const gone = await p.send(e.message('gone', { deliveryTimestamp }));
  const comes = await p.send(e.message('comes', { deliveryTimestamp }));
  assert.strictEqual((await p.recallMessage(e.topic, gone.recallHandle)).messageId, gone.messageId);
  await until('the other one', () => box.messages('comes').length > 0);
  await refused('a recall of what has come', () => p.recallMessage(e.topic, comes.recallHandle));
  assert.strictEqual(box.messages('gone').length, 0, 'recalled and seen');
}

// transaction commits and rolls back; nothing is seen before its commit.
async function transaction(e) {
  await e.prepare('TRANSACTION');
  const p = await e.producer({ checker: new Answers() });
  const box = await e.consume();
  const sent = new Map();
  for (let i = 0; i < 30; i++) {
    for (const word of ['commit', 'rollback']) {
      const t = p.beginTransaction();
      sent.set(word + i, (await p.send(e.message(word + i), t)).messageId);
      await t[word]();
    }
  }
  await box.exactly('commit', 30);
  assert.strictEqual(box.messages('rollback').length, 0, 'rolled back and seen');
  for (const m of box.messages()) {
    assert.deepStrictEqual([m.messageId, m.tag], [sent.get(text(m)), 'TagA']);
  }
}

async function late(e, box, answers) {
  await until('a question about each, and its commit', () => answers.asked.size === 10 && box.messages('late-commit').length >= 5, CHECK_LIMIT);
  await box.exactly('late-commit', 5);
  assert.strictEqual(box.messages('late-rollback').length, 0, 'rolled back and seen');
  for (const [body, m] of answers.asked) {
    assert.deepStrictEqual([m.topic, m.keys], [e.topic, [`key-${body}`]], 'the question');
  }
}

// transactionCheck leaves transactions in doubt, and ends them when it is asked.
async function transactionCheck(e) {
  await e.prepare('TRANSACTION');
  const box = await e.consume();
  const answers = new Answers();
  await leaveTen(await e.producer({ checker: answers }), body => e.message(body));
  assert.strictEqual(box.messages().length, 0, 'seen before the question');
  await late(e, box, answers);
}

// transactionOrphan: another process leaves transactions in doubt and is killed; this one is asked in its place.
async function transactionOrphan(e) {
  await e.prepare('TRANSACTION');
  const box = await e.consume();
  const other = spawn(process.execPath, [process.argv[1], process.argv[2], e.topic], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = await new Promise(resolve => {
    other.stdout.once('data', d => resolve(d.toString().trim()));
    other.once('exit', () => resolve('nothing'));
  });
  other.kill('SIGKILL');
  assert.strictEqual(said, 'left', 'said by the other process');
  const answers = new Answers();
  await e.producer({ checker: answers });
  await late(e, box, answers);
}

module.exports = {
  'send-sync': sendSync, 'send-async': sendAsync, 'body-largest': bodyLargest, 'body-too-large': bodyTooLarge, 'properties-many': propertiesMany,
  timed, 'timed-recall': recall, transaction, 'transaction-check': transactionCheck, 'transaction-orphan': transactionOrphan,
};

'use strict';

// Runs the scenarios of e2e/interop with RocketMQ's Node client (gRPC).
//
// The one argument is the plan, in JSON. A line a scenario is printed,
// RESULT<tab>name<tab>ok|FAIL|skip<tab>millis<tab>detail; what only the harness
// can do is asked for with CALL<tab>number<tab>verb<tab>argument and answered
// on standard input with number<tab>ok|error<tab>text.

const { Env, Harness, Lacks, leaveInDoubt } = require('./kit');

const scenarios = { ...require('./sending'), ...require('./consuming'), ...require('./special') };

// What the client doesn't have.
const lacks = {
  'send-oneway': 'one-way send',
  'send-batch': 'batches',
  'send-to-queue': 'choice of the queue',
  'auto-create': "way to a topic that isn't there: it asks for its route first",
  'request-reply': 'request and reply',
  trace: 'trace',
  'body-compressed': 'compression',
  'push-broadcast': 'broadcast',
  pull: 'pull consumer',
  'delay-level': 'delay levels',
};

const SCENARIO_LIMIT = 150_000;

async function one(name, harness, plan) {
  const start = Date.now();
  const env = new Env(name, harness, plan);
  let verdict = 'ok';
  let detail = '';
  let timer;
  try {
    if (lacks[name]) {
      throw new Lacks(lacks[name]);
    }
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('not done in time')), SCENARIO_LIMIT);
    });
    await Promise.race([scenarios[name](env), late]);
    detail = env.note;
  } catch (e) {
    verdict = e instanceof Lacks ? 'skip' : 'FAIL';
    detail = e instanceof Lacks ? `the client has no ${e.message}` : String(e).slice(0, 600);
    if (verdict === 'FAIL') {
      console.error(name, e);
    }
  }
  clearTimeout(timer);
  env.close(); // behind its back: some clients wait for a long poll to end
  harness.result(name, verdict, Date.now() - start, detail);
}

async function main() {
  const plan = JSON.parse(process.argv[2]);
  if (process.argv[3]) {
    await leaveInDoubt(plan, process.argv[3]);
    return;
  }
  const harness = new Harness();
  const names = [...plan.scenarios];
  const worker = async () => {
    while (names.length > 0) {
      await one(names.shift(), harness, plan);
    }
  };
  await Promise.all(Array.from({ length: plan.parallel }, worker));
  process.exit(0); // nobody waits for the clients' timers
}

process.on('unhandledRejection', e => console.error('unhandled', e)); // of the client's own, after its close
main().catch(e => {
  console.error(e);
  process.exit(1);
});

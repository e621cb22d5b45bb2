package varve.e2e;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactions: commit, rollback, and what a producer says when it is asked. */
final class TransactionScenarios {
    private TransactionScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("transaction-check", TransactionScenarios::asked);
        m.put("transaction-orphan", TransactionScenarios::orphaned);
        m.put("transaction", TransactionScenarios::ended);
    }

    /** A producer's own transactions: what it says at first, by the body's first letter, and when it is asked. */
    private static final class Bank implements TransactionListener {
        final Map<String, AtomicInteger> asked = new ConcurrentHashMap<>();
        final ConcurrentLinkedQueue<MessageExt> questions = new ConcurrentLinkedQueue<>();
        private final boolean knows;

        Bank(boolean knows) {
            this.knows = knows;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
            return state(new String(m.getBody()));
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt m) {
            questions.add(m);
            asked.computeIfAbsent(Inbox.body(m), k -> new AtomicInteger()).incrementAndGet();
            return knows ? state(Inbox.body(m).substring("late-".length())) : LocalTransactionState.UNKNOW;
        }

        private static LocalTransactionState state(String body) {
            if (body.startsWith("commit")) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
            return body.startsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
        }
    }

    private static TransactionMQProducer bank(Env env, Bank b) throws Exception {
        TransactionMQProducer p = new TransactionMQProducer("p_" + env.topic);
        p.setTransactionListener(b);
        p.setDefaultTopicQueueNums(4);
        p.setSendMsgTimeout(10_000);
        env.client(p);
        p.start();
        env.onClose(p::shutdown);
        return p;
    }

    private static TransactionSendResult send(Env env, TransactionMQProducer p, String body) throws Exception {
        TransactionSendResult r = p.sendMessageInTransaction(env.message(body), null);
        Env.sent(r);
        return r;
    }

    /** Commits and rolls back; nothing is seen before its commit, and everything committed once. */
    private static void ended(Env env) throws Exception {
        Bank b = new Bank(true);
        TransactionMQProducer p = bank(env, b);
        TransactionSendResult first = send(env, p, "commit0");
        Inbox in = SendScenarios.consume(env);
        for (int i = 1; i < 30; i++) {
            send(env, p, "commit" + i);
            send(env, p, "rollback" + i);
        }
        in.exactly("commit", 30, 60);
        Env.equal("rolled back and seen", 0, in.countOf("rollback"));
        for (MessageExt m : in.messages) {
            Env.equal("topic", env.topic, m.getTopic());
            Env.equal("tag", "TagA", m.getTags());
            Env.check("half message's place in " + m, m.getPreparedTransactionOffset() > 0 || Inbox.body(m).equals("commit0"));
            if (Inbox.body(m).equals("commit0")) {
                Env.equal("id", first.getMsgId(), m.getMsgId());
            }
        }
    }

    /** Leaves transactions in doubt, and ends them when it is asked. */
    private static void asked(Env env) throws Exception {
        DefaultMQProducer plain = SendScenarios.warm(env, env.producer());
        plain.shutdown();
        Inbox in = SendScenarios.consume(env);
        Bank b = new Bank(true);
        TransactionMQProducer p = bank(env, b);
        for (int i = 0; i < 5; i++) {
            send(env, p, "late-commit" + i);
            send(env, p, "late-rollback" + i);
        }
        Env.equal("seen before the question", 0, in.countOf("late"));
        in.exactly("late-commit", 5, 120);
        Env.until("a question about each", 60, () -> b.asked.size() == 10);
        Env.equal("rolled back and seen", 0, in.countOf("late-rollback"));
        for (MessageExt m : b.questions) {
            Env.equal("topic of the question", env.topic, m.getTopic());
            Env.equal("key", "key-" + Inbox.body(m), m.getKeys());
        }
    }

    /** The producer dies; another one of its group is asked. */
    private static void orphaned(Env env) throws Exception {
        DefaultMQProducer plain = SendScenarios.warm(env, env.producer());
        plain.shutdown();
        Inbox in = SendScenarios.consume(env);
        Bank dead = new Bank(false);
        TransactionMQProducer p = bank(env, dead);
        for (int i = 0; i < 5; i++) {
            send(env, p, "late-commit" + i);
            send(env, p, "late-rollback" + i);
        }
        p.shutdown();
        Bank other = new Bank(true);
        send(env, bank(env, other), "commit");
        in.exactly("late-commit", 5, 150);
        Env.until("a question about each", 60, () -> other.asked.size() == 10);
        Env.equal("rolled back and seen", 0, in.countOf("late-rollback"));
    }
}

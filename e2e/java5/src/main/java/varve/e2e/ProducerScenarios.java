package varve.e2e;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/** The ways to send over gRPC. */
final class ProducerScenarios {
    private static final long SECOND = 1_000;

    private ProducerScenarios() {
    }

    static void addTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("transaction-check", ProducerScenarios::asked);
        m.put("transaction-orphan", ProducerScenarios::orphaned);
        m.put("transaction", ProducerScenarios::ended);
        m.put("timed", ProducerScenarios::timed);
        m.put("timed-recall", ProducerScenarios::recall);
        m.put("send-sync", ProducerScenarios::sync);
        m.put("send-async", ProducerScenarios::async);
        m.put("body-largest", ProducerScenarios::largest);
        m.put("body-too-large", ProducerScenarios::tooLarge);
    }

    private static GrpcEnv.Inbox consume(GrpcEnv env) throws Exception {
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, in.listener());
        return in;
    }

    private static void sync(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox in = consume(env);
        Producer p = env.producer();
        Map<String, String> ids = new ConcurrentHashMap<>();
        for (int i = 0; i < 40; i++) {
            SendReceipt r = p.send(env.builder("s" + i).addProperty("colour", "blue é " + i).build());
            ids.put("s" + i, r.getMessageId().toString());
        }
        in.exactly("s", 40, 60);
        for (MessageView m : in.messages) {
            String body = GrpcEnv.body(m);
            Scope.equal("id", ids.get(body), m.getMessageId().toString());
            Scope.equal("topic", env.topic, m.getTopic());
            Scope.equal("tag", "TagA", m.getTag().orElse(null));
            Scope.equal("keys", "[key-" + body + "]", m.getKeys().toString());
            Scope.equal("property", "blue é " + body.substring(1), m.getProperties().get("colour"));
            Scope.equal("attempt", 1, m.getDeliveryAttempt());
            Scope.check("born at", Math.abs(m.getBornTimestamp() - System.currentTimeMillis()) < 600 * SECOND);
            Scope.check("born by", !m.getBornHost().isEmpty());
        }
    }

    private static void async(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox in = consume(env);
        Producer p = env.producer();
        List<CompletableFuture<SendReceipt>> all = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            all.add(p.sendAsync(env.message("a" + i)));
        }
        CompletableFuture.allOf(all.toArray(new CompletableFuture<?>[0])).get(60, TimeUnit.SECONDS);
        in.exactly("a", 200, 60);
    }

    private static byte[] random(int n) {
        byte[] b = new byte[n];
        new Random(n).nextBytes(b);
        return b;
    }

    private static void largest(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox in = consume(env);
        byte[] body = random((4 << 20) - 1024);
        env.producer().send(env.builder("x").setBody(body).build());
        Scope.until("the large message", 60, () -> in.messages.size() == 1);
        Scope.check("body as sent", Arrays.equals(body, GrpcEnv.bytes(in.messages.peek())));
    }

    private static void tooLarge(GrpcEnv env) throws Exception {
        env.make();
        Producer p = env.producer();
        try {
            p.send(env.builder("x").setBody(random((4 << 20) + 1)).build());
            throw new AssertionError("a body over 4 MiB was taken");
        } catch (ClientException | RuntimeException e) {
            env.note(e.getClass().getSimpleName());
        }
        p.send(env.message("after"));
    }

    private static void timed(GrpcEnv env) throws Exception {
        env.make("DELAY", false, 16);
        Map<String, Long> at = new ConcurrentHashMap<>();
        env.push(FilterExpression.SUB_ALL, m -> {
            at.put(GrpcEnv.body(m), System.currentTimeMillis());
            return ConsumeResult.SUCCESS;
        });
        Producer p = env.producer();
        long now = System.currentTimeMillis();
        Map<String, Long> want = new ConcurrentHashMap<>();
        for (int i = 0; i < 12; i++) {
            long due = now + 3 * SECOND + i % 4 * 1_500;
            want.put("t" + i, due);
            p.send(env.builder("t" + i).setDeliveryTimestamp(due).build());
        }
        Scope.until("all timed messages (have " + at.size() + ")", 60, () -> at.keySet().containsAll(want.keySet()));
        long worst = 0;
        for (Map.Entry<String, Long> e : want.entrySet()) {
            long late = at.get(e.getKey()) - e.getValue();
            Scope.check(e.getKey() + " came " + -late + " ms early", late > -SECOND);
            worst = Math.max(worst, late);
        }
        env.note("at most " + worst + " ms after their time");
        Scope.check("came " + worst + " ms late", worst < 5 * SECOND);
    }

    private static void recall(GrpcEnv env) throws Exception {
        env.make("DELAY", false, 16);
        GrpcEnv.Inbox in = consume(env);
        Producer p = env.producer();
        long due = System.currentTimeMillis() + 6 * SECOND;
        p.send(env.builder("kept0").setDeliveryTimestamp(due).build());
        SendReceipt gone = p.send(env.builder("gone").setDeliveryTimestamp(due).build());
        Scope.equal("id of what was recalled", gone.getMessageId().toString(),
            p.recallMessage(env.topic, gone.getRecallHandle()).getMessageId().toString());
        in.exactly("kept", 1, 60);
        Scope.throughout("the recalled message came", 3, () -> in.countOf("gone") == 0);
        try {
            p.recallMessage(env.topic, "nonsense");
            throw new AssertionError("a handle that is none was taken");
        } catch (ClientException e) {
            env.note("no handle: " + e.getClass().getSimpleName());
        }
    }

    private static void ended(GrpcEnv env) throws Exception {
        env.make("TRANSACTION", false, 16);
        GrpcEnv.Inbox in = consume(env);
        Producer p = env.producer(m -> TransactionResolution.UNKNOWN);
        for (int i = 0; i < 20; i++) {
            Transaction good = p.beginTransaction();
            p.send(env.message("commit" + i), good);
            good.commit();
            Transaction bad = p.beginTransaction();
            p.send(env.message("rollback" + i), bad);
            bad.rollback();
        }
        in.exactly("commit", 20, 60);
        Scope.throughout("rolled back and seen", 2, () -> in.countOf("rollback") == 0);
    }

    private static TransactionResolution answer(MessageView m) {
        return GrpcEnv.body(m).startsWith("late-commit") ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
    }

    private static void leave(GrpcEnv env, Producer p) throws Exception {
        for (int i = 0; i < 5; i++) {
            p.send(env.message("late-commit" + i), p.beginTransaction());
            p.send(env.message("late-rollback" + i), p.beginTransaction());
        }
    }

    /** Transactions are left in doubt, and ended when the producer is asked. */
    private static void asked(GrpcEnv env) throws Exception {
        env.make("TRANSACTION", false, 16);
        GrpcEnv.Inbox in = consume(env);
        Map<String, MessageView> asked = new ConcurrentHashMap<>();
        Producer p = env.producer(m -> {
            asked.put(GrpcEnv.body(m), m);
            return answer(m);
        });
        leave(env, p);
        in.exactly("late-commit", 5, 120);
        Scope.until("a question about each (have " + asked.keySet() + ")", 60, () -> asked.size() == 10);
        for (Map.Entry<String, MessageView> e : asked.entrySet()) {
            Scope.equal("topic of the question", env.topic, e.getValue().getTopic());
            Scope.equal("keys of the question", "[key-" + e.getKey() + "]", e.getValue().getKeys().toString());
        }
        Scope.throughout("rolled back and seen", 2, () -> in.countOf("late-rollback") == 0);
    }

    /** The producer dies; another one of the topic is asked. */
    private static void orphaned(GrpcEnv env) throws Exception {
        env.make("TRANSACTION", false, 16);
        GrpcEnv.Inbox in = consume(env);
        Producer dead = env.producer(m -> TransactionResolution.UNKNOWN);
        leave(env, dead);
        dead.close();
        Map<String, Boolean> asked = new ConcurrentHashMap<>();
        env.producer(m -> {
            asked.put(GrpcEnv.body(m), true);
            return answer(m);
        });
        in.exactly("late-commit", 5, 150);
        Scope.until("a question about each (have " + asked.keySet() + ")", 60, () -> asked.size() == 10);
        Scope.equal("rolled back and seen", 0, in.countOf("late-rollback"));
    }
}

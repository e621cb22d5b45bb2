package varve.e2e;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;

/** Simple consumers: receive, ack, invisible time, waiting. */
final class SimpleScenarios {
    private static final Duration MINUTE = Duration.ofSeconds(60);

    private SimpleScenarios() {
    }

    static void addTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("simple-invisible", SimpleScenarios::invisible);
        m.put("simple-ack", SimpleScenarios::ack);
        m.put("simple-await", SimpleScenarios::await);
        m.put("simple-filter", SimpleScenarios::filter);
    }

    static void addHistoryTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("history-simple", SimpleScenarios::history);
    }

    /** Receives and acks until there are n bodies, each of which must come once. */
    private static Set<String> drain(SimpleConsumer c, int n) throws Exception {
        Set<String> bodies = new HashSet<>();
        Scope.until(n + " messages", 90, () -> {
            for (MessageView m : c.receive(16, MINUTE)) {
                c.ack(m);
                Scope.check("twice: " + GrpcEnv.body(m), bodies.add(GrpcEnv.body(m)));
            }
            return bodies.size() >= n;
        });
        Scope.equal("messages", n, bodies.size());
        return bodies;
    }

    private static void ack(GrpcEnv env) throws Exception {
        env.make();
        SimpleConsumer c = env.simple(FilterExpression.SUB_ALL);
        env.sendMany(env.producer(), "m", 40);
        drain(c, 40);
        c.close();
        env.sendMany(env.producer(), "n", 5);
        Set<String> next = drain(env.simple(FilterExpression.SUB_ALL), 5);
        Scope.check("acked ones came again: " + next, next.stream().allMatch(b -> b.startsWith("n")));
    }

    private static MessageView one(SimpleConsumer c, Duration hidden) throws Exception {
        MessageView[] got = new MessageView[1];
        Scope.until("a message", 60, () -> {
            List<MessageView> l = c.receive(1, hidden);
            if (!l.isEmpty()) {
                got[0] = l.get(0);
            }
            return got[0] != null;
        });
        return got[0];
    }

    /** What isn't acked comes again after its time, with its count; a changed time counts from then. */
    private static void invisible(GrpcEnv env) throws Exception {
        env.make();
        SimpleConsumer c = env.simple(FilterExpression.SUB_ALL);
        Producer p = env.producer();
        p.send(env.message("again"));
        MessageView first = one(c, Duration.ofSeconds(10));
        Scope.equal("attempt", 1, first.getDeliveryAttempt());
        long start = System.nanoTime();
        MessageView second = one(c, MINUTE);
        long took = (System.nanoTime() - start) / 1_000_000;
        Scope.equal("id", first.getMessageId().toString(), second.getMessageId().toString());
        Scope.equal("attempt", 2, second.getDeliveryAttempt());
        Scope.check("came after " + took + " ms, hidden for 10 s", took > 8_000 && took < 30_000);
        c.changeInvisibleDuration(second, Duration.ofSeconds(10));
        start = System.nanoTime();
        MessageView third = one(c, MINUTE);
        long changed = (System.nanoTime() - start) / 1_000_000;
        Scope.equal("attempt", 3, third.getDeliveryAttempt());
        Scope.check("came after " + changed + " ms, hidden for 10 s anew", changed > 8_000 && changed < 30_000);
        c.ack(third);
        env.note("came again after " + took + " and " + changed + " ms, hidden for 10 s each time");
        Scope.equal("messages after the ack", 0, c.receive(16, MINUTE).size());
    }

    /** A receive waits for a message, and is answered as soon as there is one. */
    private static void await(GrpcEnv env) throws Exception {
        env.make();
        SimpleConsumer c = env.simple(FilterExpression.SUB_ALL);
        Producer p = env.producer();
        p.send(env.message("first"));
        c.ack(one(c, MINUTE));
        long start = System.nanoTime();
        Scope.equal("messages of an empty topic", 0, c.receive(16, MINUTE).size());
        long waited = (System.nanoTime() - start) / 1_000_000;
        Scope.check("waited " + waited + " ms of 5 s", waited > 4_000);
        long worst = 0;
        for (int i = 0; i < 5; i++) {
            java.util.concurrent.CompletableFuture<List<MessageView>> held = c.receiveAsync(1, MINUTE);
            java.util.concurrent.TimeUnit.MILLISECONDS.sleep(300);
            start = System.nanoTime();
            p.send(env.message("late" + i));
            List<MessageView> got = held.get(30, java.util.concurrent.TimeUnit.SECONDS);
            MessageView m = got.isEmpty() ? one(c, MINUTE) : got.get(0); // the held call may have asked another queue
            worst = Math.max(worst, (System.nanoTime() - start) / 1_000_000);
            Scope.equal("body", "late" + i, GrpcEnv.body(m));
            c.ack(m);
        }
        env.note("an empty receive waited " + waited + " ms; worst send to receive " + worst + " ms");
    }

    private static void filter(GrpcEnv env) throws Exception {
        env.make();
        SimpleConsumer c = env.simple(GrpcEnv.sql("n > 9 AND n < 20"));
        Producer p = env.producer();
        for (int i = 0; i < 30; i++) {
            p.send(env.builder("f" + i).addProperty("n", String.valueOf(i)).build());
        }
        for (String b : drain(c, 10)) {
            int n = Integer.parseInt(b.substring(1));
            Scope.check(b, n > 9 && n < 20);
        }
    }

    /** A simple consumer reads on where only the archive has the messages. */
    private static void history(GrpcEnv env) throws Exception {
        env.make();
        SimpleConsumer c = env.simple(FilterExpression.SUB_ALL);
        Producer p = env.producer();
        p.send(env.message("first"));
        c.ack(one(c, MINUTE));
        env.sendMany(p, "cold", 200);
        if (!env.call("archive-and-trim", env.topic)) {
            throw new Scope.Skip("this server keeps no archive");
        }
        env.sendMany(p, "hot", 20);
        drain(c, 220);
    }
}

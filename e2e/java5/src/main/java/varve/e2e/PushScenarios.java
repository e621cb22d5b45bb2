package varve.e2e;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Push consumers over gRPC: filters, retries, dead letters, order, long work. */
final class PushScenarios {
    private static final int LONG_SECONDS = 68;

    private PushScenarios() {
    }

    static void addTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("push-long-work", PushScenarios::longWork);
        m.put("push-orderly", PushScenarios::orderly);
        m.put("orderly-suspend", PushScenarios::suspend);
        m.put("retry-dlq", PushScenarios::deadLetter);
        m.put("retry-then-success", PushScenarios::retry);
        m.put("push-rebalance", PushScenarios::share);
        m.put("push-resume", PushScenarios::resume);
        m.put("filter-tag", PushScenarios::tags);
        m.put("filter-sql92", PushScenarios::sql);
    }

    /** Work that lasts longer than the minute for which a message is hidden at first: it is renewed and comes once. */
    private static void longWork(GrpcEnv env) throws Exception {
        env.make();
        AtomicInteger times = new AtomicInteger();
        AtomicInteger done = new AtomicInteger();
        env.push(FilterExpression.SUB_ALL, m -> {
            if (GrpcEnv.body(m).equals("long")) {
                times.incrementAndGet();
                pause(LONG_SECONDS * 1_000);
                done.incrementAndGet();
            }
            return ConsumeResult.SUCCESS;
        });
        env.producer().send(env.message("long"));
        Scope.until("the work is done", LONG_SECONDS + 60, () -> done.get() == 1);
        Scope.throughout("the message came again", 4, () -> times.get() == 1);
        env.note(LONG_SECONDS + " s of work on one message");
    }

    private static void pause(long millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Each message group in order, none twice at a time, different groups side by side. */
    private static void orderly(GrpcEnv env) throws Exception {
        env.make("FIFO", true, 16);
        Map<String, List<String>> seen = new ConcurrentHashMap<>();
        Map<String, AtomicInteger> inside = new ConcurrentHashMap<>();
        AtomicInteger overlaps = new AtomicInteger();
        AtomicInteger count = new AtomicInteger();
        env.push(FilterExpression.SUB_ALL, m -> {
            String g = m.getMessageGroup().orElse("none");
            AtomicInteger here = inside.computeIfAbsent(g, k -> new AtomicInteger());
            if (here.incrementAndGet() > 1) {
                overlaps.incrementAndGet();
            }
            seen.computeIfAbsent(g, k -> Collections.synchronizedList(new ArrayList<>())).add(GrpcEnv.body(m));
            pause(3);
            here.decrementAndGet();
            count.incrementAndGet();
            return ConsumeResult.SUCCESS;
        });
        Producer p = env.producer();
        Map<String, List<String>> want = new HashMap<>();
        for (int i = 0; i < 120; i++) {
            String g = "line" + i % 6;
            p.send(env.builder("f" + i).setMessageGroup(g).build());
            want.computeIfAbsent(g, k -> new ArrayList<>()).add("f" + i);
        }
        Scope.until("120 messages", 90, () -> count.get() >= 120);
        Scope.equal("times that two messages of one group were worked on", 0, overlaps.get());
        for (Map.Entry<String, List<String>> e : want.entrySet()) {
            Scope.equal("order of " + e.getKey(), e.getValue(), new ArrayList<>(seen.get(e.getKey())));
        }
    }

    /** A message that fails holds its group back; after its tries it is dead, and the next one is due. */
    private static void suspend(GrpcEnv env) throws Exception {
        env.make("FIFO", true, 3);
        List<String> done = Collections.synchronizedList(new ArrayList<>());
        AtomicInteger failures = new AtomicInteger();
        env.push(FilterExpression.SUB_ALL, m -> {
            String body = GrpcEnv.body(m);
            if (body.equals("s5") || body.equals("s2") && m.getDeliveryAttempt() < 2) {
                failures.incrementAndGet();
                return ConsumeResult.FAILURE;
            }
            done.add(body);
            return ConsumeResult.SUCCESS;
        });
        Producer p = env.producer();
        List<String> want = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            p.send(env.builder("s" + i).setMessageGroup("one line").build());
            if (i != 5) {
                want.add("s" + i);
            }
        }
        Scope.until("the line's last message (have " + done + ")", 90, () -> done.contains("s7"));
        Scope.equal("in order, without the dead one", want, new ArrayList<>(done));
        Scope.equal("failed tries", 1 + 3, failures.get());
    }

    private static void deadLetter(GrpcEnv env) throws Exception {
        env.make("NORMAL", false, 2);
        ConcurrentLinkedQueue<MessageView> seen = new ConcurrentLinkedQueue<>();
        env.push(FilterExpression.SUB_ALL, m -> {
            seen.add(m);
            return ConsumeResult.FAILURE;
        });
        String id = env.producer().send(env.message("dead")).getMessageId().toString();
        Scope.until("delivered twice", 120, () -> seen.size() >= 2);
        int attempt = 1;
        for (MessageView m : seen) {
            Scope.equal("attempt", attempt++, m.getDeliveryAttempt());
            Scope.equal("id", id, m.getMessageId().toString());
            Scope.equal("topic", env.topic, m.getTopic());
        }
        DefaultMQAdminExt admin = env.admin();
        DefaultMQPullConsumer d = new DefaultMQPullConsumer(env.group + "_dlq");
        d.setNamesrvAddr(admin.getNamesrvAddr());
        d.setInstanceName(env.group);
        d.start();
        env.onClose(d::shutdown);
        String broker = admin.examineBrokerClusterInfo().getBrokerAddrTable().keySet().iterator().next();
        MessageQueue q = new MessageQueue("%DLQ%" + env.group, broker, 0);
        Scope.until("in the dead letter queue", 60, () -> {
            try {
                return d.maxOffset(q) == 1;
            } catch (Exception e) {
                return false;
            }
        });
        PullResult r = d.pull(q, "*", 0, 8);
        Scope.equal("status", PullStatus.FOUND, r.getPullStatus());
        Scope.equal("body", "dead", new String(r.getMsgFoundList().get(0).getBody()));
        Scope.equal("id", id, r.getMsgFoundList().get(0).getMsgId());
        Scope.equal("deliveries", 2, seen.size());
    }

    private static void retry(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox done = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, m -> {
            if (m.getDeliveryAttempt() == 1) {
                return ConsumeResult.FAILURE;
            }
            done.messages.add(m);
            return ConsumeResult.SUCCESS;
        });
        env.sendMany(env.producer(), "again", 10);
        done.exactly("again", 10, 120);
        for (MessageView m : done.messages) {
            Scope.equal("topic", env.topic, m.getTopic());
            Scope.equal("attempt", 2, m.getDeliveryAttempt());
        }
    }

    /** Two consumers of a group share its messages; one leaves, the other goes on. */
    private static void share(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox all = new GrpcEnv.Inbox();
        PushConsumer one = env.push(FilterExpression.SUB_ALL, all.listener());
        env.push(FilterExpression.SUB_ALL, all.listener());
        Producer p = env.producer();
        env.sendMany(p, "x", 100);
        all.exactly("x", 100, 60);
        one.close();
        env.sendMany(p, "y", 100);
        all.exactly("y", 100, 90);
    }

    private static void resume(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox before = new GrpcEnv.Inbox();
        PushConsumer c = env.push(FilterExpression.SUB_ALL, before.listener());
        Producer p = env.producer();
        env.sendMany(p, "first", 50);
        before.exactly("first", 50, 60);
        c.close();
        env.sendMany(p, "second", 50);
        GrpcEnv.Inbox after = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, after.listener());
        after.exactly("second", 50, 90);
        Scope.equal("messages after the restart", 50, after.messages.size());
    }

    private static void tags(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(new FilterExpression("A || B"), in.listener());
        Producer p = env.producer();
        for (int i = 0; i < 60; i++) {
            String tag = String.valueOf((char) ('A' + i % 3));
            p.send(env.builder(tag + i).setTag(tag).build());
        }
        Scope.until("40 messages of tags A and B", 60, () -> in.messages.size() >= 40);
        Scope.throughout("a message of another tag came", 1, () -> in.countOf("C") == 0 && in.messages.size() == 40);
    }

    private static void sql(GrpcEnv env) throws Exception {
        env.make();
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(GrpcEnv.sql("price BETWEEN 10 AND 39 AND region = 'north' AND TAGS = 'TagA'"), in.listener());
        Producer p = env.producer();
        for (int i = 0; i < 60; i++) {
            p.send(env.builder("sql" + i).addProperty("price", String.valueOf(i)).addProperty("region", i % 2 == 0 ? "north" : "south").build());
        }
        Scope.until("15 messages by SQL92", 60, () -> in.messages.size() >= 15);
        for (MessageView m : in.messages) {
            int price = Integer.parseInt(m.getProperties().get("price"));
            Scope.check("price " + price, price >= 10 && price <= 39 && price % 2 == 0);
        }
        Scope.equal("messages", 15, in.messages.size());
    }
}

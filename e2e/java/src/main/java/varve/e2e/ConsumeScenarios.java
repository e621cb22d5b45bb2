package varve.e2e;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumption: groups, rebalance, broadcast, filters, order, resumption. */
final class ConsumeScenarios {
    private ConsumeScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("push-rebalance", ConsumeScenarios::rebalance);
        m.put("push-broadcast", ConsumeScenarios::broadcast);
        m.put("push-resume", ConsumeScenarios::resume);
        m.put("push-orderly", ConsumeScenarios::orderly);
        m.put("push-long-poll", ConsumeScenarios::longPoll);
        m.put("filter-tag", ConsumeScenarios::tags);
        m.put("filter-sql92", ConsumeScenarios::sql);
    }

    private static int queuesOf(DefaultMQPushConsumer c, String topic) {
        int n = 0;
        for (Object q : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().toArray()) {
            if (((org.apache.rocketmq.common.message.MessageQueue) q).getTopic().equals(topic)) {
                n++;
            }
        }
        return n;
    }

    /** Two consumers of a group share the queues; when one leaves, the other takes over at once (code 40), not by the 20 s clock. */
    private static void rebalance(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        DefaultMQPushConsumer a = env.push(env.group);
        a.subscribe(env.topic, "*");
        one.listen(a);
        a.start();
        Env.until("the first consumer has four queues", 60, () -> queuesOf(a, env.topic) == 4);
        DefaultMQPushConsumer b = env.push(env.group);
        b.subscribe(env.topic, "*");
        two.listen(b);
        b.start();
        Env.until("two queues each", 60, () -> queuesOf(a, env.topic) == 2 && queuesOf(b, env.topic) == 2);
        // Not round robin: the client begins that anew, at a random queue, when its poll finds the topic's own route in
        // place of the default topic's, which may be in the middle of these.
        env.sendEvenly(p, "x", 200);
        Env.until("200 messages at two consumers", 60, () -> one.countOf("x") + two.countOf("x") >= 200);
        Env.equal("each has half", "100 and 100", one.countOf("x") + " and " + two.countOf("x"));
        Inbox both = new Inbox();
        both.messages.addAll(one.messages);
        both.messages.addAll(two.messages);
        both.exactly("x", 200, 1);
        long left = System.nanoTime();
        b.shutdown();
        Env.until("all queues at the one that stayed", 60, () -> queuesOf(a, env.topic) == 4);
        long took = (System.nanoTime() - left) / 1_000_000;
        env.sendMany(p, "y", 100);
        one.exactly("y", 100, 60);
        env.note("take-over " + took + " ms");
        Env.check("take-over took " + took + " ms: nobody was notified", took < 15_000);
    }

    private static void broadcast(Env env) throws Exception {
        Path dir = Files.createTempDirectory("offsets");
        System.setProperty("rocketmq.client.localOffsetStoreDir", dir.toString());
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        List<Inbox> all = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer c = env.push(env.group);
            Env.messageModel(c, "BROADCASTING");
            c.subscribe(env.topic, "*");
            Inbox in = new Inbox();
            in.listen(c);
            c.start();
            all.add(in);
        }
        env.sendMany(p, "bc", 60);
        for (Inbox in : all) {
            in.exactly("bc", 60, 60);
        }
    }

    private static void resume(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        env.sendMany(p, "first", 50);
        Inbox before = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        before.listen(c);
        c.start();
        before.exactly("first", 50, 60);
        Env.until("the warm-up message too", 30, () -> before.messages.size() == 51);
        // A listener that has returned isn't yet progress: the client notes that afterwards, in another step, and what
        // it has not noted when it is shut down comes again, at any broker.
        Env.until("progress past all 51", 30, () -> progressOf(c, env.topic) == 51);
        c.shutdown();
        env.sendMany(p, "second", 50);
        Inbox after = SendScenarios.consume(env);
        after.exactly("second", 50, 60);
        Env.equal("messages after the restart", 50, after.messages.size());
    }

    /** What a client has noted as consumed of all queues of a topic that begins at 0. */
    private static long progressOf(DefaultMQPushConsumer c, String topic) throws Exception {
        long sum = 0;
        for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
            sum += Math.max(0, c.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(q, ReadOffsetType.READ_FROM_MEMORY));
        }
        return sum;
    }

    private static void orderly(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Map<Integer, List<Long>> seen = new ConcurrentHashMap<>();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        Inbox in = new Inbox();
        c.registerMessageListener((MessageListenerOrderly) (msgs, context) -> {
            for (MessageExt m : msgs) {
                seen.computeIfAbsent(m.getQueueId(), q -> new ArrayList<>()).add(m.getQueueOffset());
                in.messages.add(m);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        c.start();
        env.sendMany(p, "ord", 200);
        in.exactly("ord", 200, 60);
        for (Map.Entry<Integer, List<Long>> e : seen.entrySet()) {
            long last = -1;
            for (long o : e.getValue()) {
                Env.equal("next offset of queue " + e.getKey(), last < 0 ? o : last + 1, o);
                last = o;
            }
        }
    }

    /** A message that arrives while a pull is held must be delivered at once, not at the end of the hold. */
    private static void longPoll(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Inbox in = SendScenarios.consume(env);
        Env.until("the warm-up message", 60, () -> in.messages.size() == 1);
        long worst = 0;
        for (int i = 0; i < 10; i++) {
            long start = System.nanoTime();
            String body = "late" + i + "x";
            Env.sent(p.send(env.message(body)));
            Env.until(body, 30, () -> in.countOf(body) == 1);
            worst = Math.max(worst, (System.nanoTime() - start) / 1_000_000);
        }
        env.note("worst send to receive " + worst + " ms");
        Env.check("worst send to receive " + worst + " ms", worst < 3_000);
    }

    private static void tags(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        String[] tags = {"A", "B", "C", null};
        for (int i = 0; i < 80; i++) {
            Message m = env.message(tags[i % 4] + "-" + i);
            m.setTags(tags[i % 4] == null ? "" : tags[i % 4]);
            Env.sent(p.send(m));
        }
        Inbox in = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "A || B");
        in.listen(c);
        c.start();
        Env.until("40 messages of tags A and B", 60, () -> in.messages.size() >= 40);
        Map<String, Integer> count = new HashMap<>();
        for (MessageExt m : in.messages) {
            count.merge(String.valueOf(m.getTags()), 1, Integer::sum);
        }
        Env.equal("by tag", new HashMap<String, Integer>() {
            {
                put("A", 20);
                put("B", 20);
            }
        }, count);
    }

    private static void sql(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        for (int i = 0; i < 60; i++) {
            Message m = env.message("sql" + i);
            m.putUserProperty("price", String.valueOf(i));
            if (i % 2 == 0) {
                m.putUserProperty("region", "north");
            }
            Env.sent(p.send(m));
        }
        Inbox in = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, MessageSelector.bySql("price BETWEEN 10 AND 39 AND region = 'north' AND TAGS = 'TagA'"));
        in.listen(c);
        c.start();
        Env.until("15 messages by SQL92", 60, () -> in.messages.size() >= 15);
        for (MessageExt m : in.messages) {
            int price = Integer.parseInt(m.getUserProperty("price"));
            Env.check("price " + price, price >= 10 && price <= 39 && price % 2 == 0);
        }
        Env.equal("messages", 15, in.messages.size());
    }
}

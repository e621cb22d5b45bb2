package varve.e2e;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * What only a broker that remembers can do: the hot log is trimmed and nothing is missed. Each runs alone: the log is
 * trimmed by whole segments, and nobody else's fresh messages may hold one back.
 */
@SuppressWarnings("deprecation")
final class HistoryScenarios {
    private static final String NO_ARCHIVE = "this server keeps no archive";

    private HistoryScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("history-push", remembered(HistoryScenarios::push));
        m.put("history-same-message", remembered(HistoryScenarios::sameMessage));
        m.put("history-query-ids", remembered(HistoryScenarios::ids));
        m.put("history-positions", remembered(HistoryScenarios::positions));
    }

    private static Scenario<Env> remembered(Scenario<Env> s) {
        return env -> {
            if (!env.call("archive", "")) {
                throw new Env.Skip(NO_ARCHIVE);
            }
            s.run(env);
        };
    }

    /** Archives all that the topic has and lets the hot log forget it. */
    private static void forget(Env env) throws Exception {
        if (!env.call("archive-and-trim", env.topic)) {
            throw new Env.Skip(NO_ARCHIVE);
        }
    }

    /** An ordinary push consumer reads the archived part, then goes over to the hot log while sends go on. */
    private static void push(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        env.sendMany(p, "cold", 2_000);
        forget(env);
        env.sendMany(p, "warm-hot", 100);
        AtomicBoolean stop = new AtomicBoolean();
        int[] live = {0};
        Thread sender = new Thread(() -> {
            try {
                while (!stop.get()) {
                    Env.sent(p.send(env.message("live" + live[0])));
                    live[0]++;
                }
            } catch (Exception e) {
                System.err.println("history-push sender: " + e);
            }
        });
        sender.start();
        Inbox in = SendScenarios.consume(env);
        try {
            in.exactly("cold", 2_000, 120);
            in.exactly("warm-hot", 100, 60);
        } finally {
            stop.set(true);
            sender.join();
        }
        in.exactly("live", live[0], 60);
        env.note("2000 cold, " + (100 + live[0]) + " hot");
    }

    private static Map<String, Object> fields(MessageExt m) {
        Map<String, Object> f = new TreeMap<>();
        f.put("topic", m.getTopic());
        f.put("queue", m.getQueueId());
        f.put("offset", m.getQueueOffset());
        f.put("physical", m.getCommitLogOffset());
        f.put("msgId", m.getMsgId());
        f.put("flag", m.getFlag());
        f.put("born", m.getBornTimestamp());
        f.put("bornHost", m.getBornHost());
        f.put("stored", m.getStoreTimestamp());
        f.put("storeHost", m.getStoreHost());
        f.put("reconsume", m.getReconsumeTimes());
        f.put("prepared", m.getPreparedTransactionOffset());
        f.put("properties", m.getProperties() == null ? "" : new TreeMap<>(m.getProperties()).toString());
        f.put("body", m.getBody() == null || m.getBody().length == 0 ? 0 : Arrays.hashCode(m.getBody()));
        return f;
    }

    /** Invariant: a cold read gives back the same message as the hot one did. */
    private static void sameMessage(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        for (int i = 0; i < 30; i++) {
            Message m = env.message("same" + i);
            m.setFlag(i);
            m.putUserProperty("n", String.valueOf(i));
            if (i % 7 == 0) {
                m.setBody(new byte[20_000 + i]);
            }
            Env.sent(p.send(m, q));
        }
        unusual(env, p, q);
        DefaultMQPullConsumer c = env.pull(env.group);
        List<MessageExt> hot = read(c, q, new ArrayList<>());
        Env.check("hot messages " + hot.size(), hot.size() >= 36);
        forget(env);
        List<Long> nodes = new ArrayList<>();
        DefaultMQPullConsumer d = env.pull(env.group + "_cold");
        List<MessageExt> cold = read(d, q, nodes);
        Env.equal("messages", hot.size(), cold.size());
        for (int i = 0; i < hot.size(); i++) {
            Env.equal("message " + i, fields(hot.get(i)), fields(cold.get(i)));
        }
        env.note("sent on to broker ids " + nodes);
        Env.check("no pull was sent to a history node: " + nodes, nodes.stream().anyMatch(n -> n > 0));
    }

    /** The largest body, a compressed one, no key, many properties, no properties, no body. */
    private static void unusual(Env env, DefaultMQProducer p, MessageQueue q) throws Exception {
        p.setCompressMsgBodyOverHowmuch(8 << 20);
        Env.sent(p.send(new Message(env.topic, ShapeScenarios.random((4 << 20) - 1, 11)), q, 30_000));
        p.setCompressMsgBodyOverHowmuch(4_096);
        byte[] even = new byte[150_000];
        Arrays.fill(even, (byte) 'z');
        Env.sent(p.send(new Message(env.topic, "Z", even), q));
        Env.sent(p.send(new Message(env.topic, "T", "", new byte[] {1}), q));
        Message many = env.message("many");
        for (int i = 0; i < 200; i++) {
            many.putUserProperty("p" + i, "value é " + i);
        }
        Env.sent(p.send(many, q));
        Env.equal("bare message", 0, ShapeScenarios.raw(env, p, q, new byte[] {7}).getCode());
        Env.equal("empty message", 0, ShapeScenarios.raw(env, p, q, new byte[0]).getCode());
    }

    private static List<MessageExt> read(DefaultMQPullConsumer c, MessageQueue q, List<Long> nodes) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long at = 0;
        long end = c.maxOffset(q);
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (at < end) {
            Env.check("read to " + at + " of " + end, System.nanoTime() < deadline);
            PullResult r = c.pull(q, "*", at, 8);
            long node = suggested(r);
            if (nodes.isEmpty() || nodes.get(nodes.size() - 1) != node) {
                nodes.add(node);
            }
            Env.check("status at " + at + ": " + r.getPullStatus(),
                r.getPullStatus() == PullStatus.FOUND || r.getPullStatus() == PullStatus.NO_MATCHED_MSG);
            if (r.getPullStatus() == PullStatus.FOUND) {
                for (MessageExt m : r.getMsgFoundList()) {
                    Env.equal("offset", at++, m.getQueueOffset());
                }
                all.addAll(r.getMsgFoundList());
            }
        }
        return all;
    }

    private static long suggested(PullResult r) throws Exception {
        Method m = r.getClass().getMethod("getSuggestWhichBrokerId");
        m.setAccessible(true);
        return (Long) m.invoke(r);
    }

    /** An archived message is found by unique key, by offset id and by key. */
    private static void ids(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        env.sendMany(p, "other", 20);
        SendResult r = Env.sent(p.send(env.message("archived")));
        env.sendMany(p, "another", 20);
        forget(env);
        AdminScenarios.ids(env, p, r, "archived");
    }

    /** Min, max, search by time and by key work over both parts as if there were one. */
    private static void positions(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        for (int i = 0; i < 40; i++) {
            Env.sent(p.send(env.message("pos" + i), q));
            if (i % 10 == 0) {
                long now = System.currentTimeMillis();
                Env.until("the clock's next millisecond", 1, () -> System.currentTimeMillis() > now + 4);
            }
        }
        DefaultMQPullConsumer c = env.pull(env.group);
        List<MessageExt> all = read(c, q, new ArrayList<>());
        Map<Long, Long> first = new HashMap<>();
        for (MessageExt m : all) {
            first.merge(m.getStoreTimestamp(), m.getQueueOffset(), Math::min);
        }
        forget(env);
        Env.equal("min", 0L, c.minOffset(q));
        Env.equal("max", (long) all.size(), c.maxOffset(q));
        for (Map.Entry<Long, Long> e : first.entrySet()) {
            Env.equal("first at " + e.getKey(), e.getValue(), c.searchOffset(q, e.getKey()));
        }
        MessageExt some = all.get(all.size() / 2);
        Env.equal("by key", 1, p.queryMessage(env.topic, some.getKeys(), 8, 0, System.currentTimeMillis()).getMessageList().size());
        Env.equal("by unique id", Inbox.body(some), Inbox.body(p.viewMessage(env.topic, some.getMsgId())));
    }
}

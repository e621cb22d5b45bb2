package varve.e2e;

import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** What a scenario works with: its own names, clients that are closed for it, and checks. */
final class Env implements AutoCloseable {
    /** Thrown where the server under test can't do what the scenario is about. */
    static final class Skip extends RuntimeException {
        Skip(String why) {
            super(why);
        }
    }

    private static final AtomicInteger CLIENTS = new AtomicInteger();
    private static final long POLL_MILLIS = 20;

    final String topic;
    final String group;
    private final String namesrv;
    private final Harness harness;
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private volatile String note = "";

    Env(String scenario, String namesrv, Harness harness) {
        String run = Long.toString(System.nanoTime() & 0xffffffffL, 36);
        this.topic = scenario.replace('-', '_') + "_" + run;
        this.group = "g_" + topic;
        this.namesrv = namesrv;
        this.harness = harness;
    }

    void note(String s) {
        note = s;
    }

    String note() {
        return note;
    }

    boolean call(String verb, String argument) throws Exception {
        return harness.call(verb, argument);
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("p_" + topic);
        p.setRetryTimesWhenSendFailed(0);
        p.setSendMsgTimeout(10_000);
        p.setDefaultTopicQueueNums(4);
        p.setMaxMessageSize(4 << 20);
        client(p);
        p.start();
        onClose(p::shutdown);
        return p;
    }

    /** A push consumer from the first offset, not started. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setPersistConsumerOffsetInterval(500);
        c.setConsumeThreadMin(4);
        c.setConsumeThreadMax(4);
        client(c);
        onClose(c::shutdown);
        return c;
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(group);
        c.setPersistConsumerOffsetInterval(500);
        client(c);
        c.start();
        onClose(c::shutdown);
        return c;
    }

    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(group);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setAutoCommitIntervalMillis(1_000);
        client(c);
        onClose(c::shutdown);
        return c;
    }

    void client(ClientConfig c) {
        c.setNamesrvAddr(namesrv);
        c.setInstanceName("i" + CLIENTS.incrementAndGet());
        c.setPollNameServerInterval(1_000);
        c.setHeartbeatBrokerInterval(5_000);
    }

    /** MessageModel moved between 4.9 and 5.x, so it is set by name. */
    static void messageModel(DefaultMQPushConsumer c, String name) throws Exception {
        for (Method m : c.getClass().getMethods()) {
            if (m.getName().equals("setMessageModel")) {
                for (Object o : m.getParameterTypes()[0].getEnumConstants()) {
                    if (o.toString().equals(name)) {
                        m.invoke(c, o);
                        return;
                    }
                }
            }
        }
        throw new AssertionError("no message model " + name);
    }

    /** Sends n messages one after the other, round robin over the queues. */
    List<SendResult> sendMany(DefaultMQProducer p, String prefix, int n) throws Exception {
        List<SendResult> rs = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            rs.add(sent(p.send(message(prefix + i))));
        }
        return rs;
    }

    /** Sends n messages one after the other, as many to each queue. */
    void sendEvenly(DefaultMQProducer p, String prefix, int n) throws Exception {
        List<MessageQueue> qs = queues(p);
        for (int i = 0; i < n; i++) {
            sent(p.send(message(prefix + i), qs.get(i % qs.size())));
        }
    }

    Message message(String body) {
        return new Message(topic, "TagA", "key-" + body, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Makes the topic exist (auto-create by a first message) and returns its queues in order of id. */
    List<MessageQueue> queues(DefaultMQProducer p) throws Exception {
        List<MessageQueue> qs = new ArrayList<>(p.fetchPublishMessageQueues(topic));
        qs.sort(Comparator.comparing(MessageQueue::getBrokerName).thenComparing(MessageQueue::getQueueId));
        return qs;
    }

    static SendResult sent(SendResult r) {
        equal("send status", SendStatus.SEND_OK, r.getSendStatus());
        return r;
    }

    static void equal(String what, Object want, Object got) {
        if (!Objects.equals(want, got)) {
            throw new AssertionError(what + ": want " + want + ", got " + got);
        }
    }

    static void check(String what, boolean ok) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    /** Polls until the condition holds; the other side is a server, so there is nothing to be told by. */
    static void until(String what, long seconds, Callable<Boolean> done) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!done.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("after " + seconds + " s still not: " + what);
            }
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
    }

    void onClose(Runnable r) {
        synchronized (closers) {
            closers.push(r);
        }
    }

    @Override
    public void close() {
        synchronized (closers) {
            while (!closers.isEmpty()) {
                try {
                    closers.pop().run();
                } catch (RuntimeException e) {
                    System.err.println(topic + ": closing: " + e);
                }
            }
        }
    }
}

package varve.e2e;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Order in a queue: while members of the group come and go, and while messages fail. */
final class OrderScenarios {
    private static final int MESSAGES = 400;

    private OrderScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("orderly-rebalance", OrderScenarios::rebalance);
        m.put("orderly-suspend", OrderScenarios::suspend);
    }

    /** What all members of the group saw of one queue. */
    private static final class Line {
        final AtomicInteger inside = new AtomicInteger();
        final ConcurrentLinkedQueue<Long> offsets = new ConcurrentLinkedQueue<>();
    }

    /** One member of three leaves and another one comes, again and again, while messages are sent. */
    private static void rebalance(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Map<Integer, Line> lines = new ConcurrentHashMap<>();
        AtomicInteger overlaps = new AtomicInteger();
        MessageListenerOrderly listener = (msgs, context) -> {
            Line line = lines.computeIfAbsent(msgs.get(0).getQueueId(), q -> new Line());
            if (line.inside.incrementAndGet() > 1) {
                overlaps.incrementAndGet();
            }
            for (MessageExt m : msgs) {
                line.offsets.add(m.getQueueOffset());
            }
            pause(5);
            line.inside.decrementAndGet();
            return ConsumeOrderlyStatus.SUCCESS;
        };
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        members.add(member(env, listener));
        members.add(member(env, listener));
        AtomicBoolean sent = new AtomicBoolean();
        Thread sender = new Thread(() -> {
            try {
                List<MessageQueue> qs = env.queues(p);
                for (int i = 0; i < MESSAGES; i++) {
                    Env.sent(p.send(env.message("o" + i), qs.get(i % qs.size())));
                    pause(20);
                }
                sent.set(true);
            } catch (Exception e) {
                System.err.println("orderly-rebalance sender: " + e);
            }
        });
        sender.start();
        for (int i = 0; i < 3; i++) {
            TimeUnit.MILLISECONDS.sleep(1_500);
            members.add(member(env, listener));
            TimeUnit.MILLISECONDS.sleep(1_500);
            members.remove(0).shutdown();
        }
        sender.join();
        Env.check("all sent", sent.get());
        Env.until("every message seen (have " + distinct(lines) + ")", 90, () -> distinct(lines) == MESSAGES + 1);
        Env.equal("times that two worked on one queue", 0, overlaps.get());
        int again = 0;
        for (Map.Entry<Integer, Line> e : lines.entrySet()) {
            long next = 0;
            for (long o : e.getValue().offsets) {
                Env.check("queue " + e.getKey() + ": " + o + " before " + next, o <= next);
                again += o < next ? 1 : 0;
                next = Math.max(next, o + 1);
            }
        }
        env.note("3 members joined and 3 left; " + again + " messages seen again");
    }

    private static int distinct(Map<Integer, Line> lines) {
        int n = 0;
        for (Line l : lines.values()) {
            Set<Long> seen = new HashSet<>(l.offsets);
            n += seen.size();
        }
        return n;
    }

    private static DefaultMQPushConsumer member(Env env, MessageListenerOrderly l) throws Exception {
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        c.registerMessageListener(l);
        c.start();
        return c;
    }

    /** A queue whose message fails stands still until it succeeds; after its tries it is dead and the next one is due. */
    private static void suspend(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(1);
        List<String> want = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Env.sent(p.send(env.message("s" + i), q));
            want.add("s" + i);
        }
        List<String> done = java.util.Collections.synchronizedList(new ArrayList<>());
        AtomicInteger failures = new AtomicInteger();
        DefaultMQPushConsumer c = env.push(env.group);
        c.setSuspendCurrentQueueTimeMillis(200);
        c.setMaxReconsumeTimes(3);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerOrderly) (msgs, context) -> {
            String body = Inbox.body(msgs.get(0));
            if (body.equals("s7") || body.equals("s3") && msgs.get(0).getReconsumeTimes() < 2) {
                failures.incrementAndGet();
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            if (body.startsWith("s")) {
                done.add(body);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        c.start();
        want.remove("s7");
        Env.until("the queue's last message (have " + done + ")", 60, () -> done.contains("s9"));
        Env.equal("in order, without the dead one", want, new ArrayList<>(done));
        Env.equal("failed tries", 2 + 4, failures.get());
    }

    private static void pause(int millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}

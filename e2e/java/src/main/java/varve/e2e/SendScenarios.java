package varve.e2e;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The ways to send, each checked by what a consumer is given. */
final class SendScenarios {
    private SendScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("send-sync", SendScenarios::sync);
        m.put("send-async", SendScenarios::async);
        m.put("send-oneway", SendScenarios::oneway);
        m.put("send-batch", SendScenarios::batch);
        m.put("send-to-queue", SendScenarios::toQueue);
        m.put("auto-create", SendScenarios::autoCreate);
    }

    static Inbox consume(Env env) throws Exception {
        Inbox in = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        in.listen(c);
        c.start();
        return in;
    }

    private static void sync(Env env) throws Exception {
        DefaultMQProducer p = env.producer();
        Map<String, SendResult> sent = new HashMap<>();
        for (int i = 0; i < 40; i++) {
            Message m = env.message("s" + i);
            m.putUserProperty("colour", "blue " + i);
            m.setFlag(i);
            sent.put("s" + i, Env.sent(p.send(m)));
        }
        Inbox in = consume(env);
        in.exactly("s", 40, 60);
        for (MessageExt m : in.messages) {
            String body = Inbox.body(m);
            SendResult r = sent.get(body);
            Env.equal("msgId", r.getMsgId(), m.getMsgId());
            Env.equal("queue", r.getMessageQueue().getQueueId(), m.getQueueId());
            Env.equal("broker", r.getMessageQueue().getBrokerName(), m.getBrokerName());
            Env.equal("offset", r.getQueueOffset(), m.getQueueOffset());
            Env.equal("tag", "TagA", m.getTags());
            Env.equal("key", "key-" + body, m.getKeys());
            Env.equal("flag", Integer.parseInt(body.substring(1)), m.getFlag());
            Env.equal("property", "blue " + body.substring(1), m.getUserProperty("colour"));
            Env.equal("topic", env.topic, m.getTopic());
            Env.equal("reconsume times", 0, m.getReconsumeTimes());
            Env.check("store time", m.getStoreTimestamp() >= m.getBornTimestamp() - 60_000);
            Env.check("born host " + m.getBornHost(), m.getBornHostString().startsWith("127.0.0.1"));
        }
    }

    private static void async(Env env) throws Exception {
        DefaultMQProducer p = env.producer();
        env.queues(warm(env, p));
        int n = 300;
        CountDownLatch left = new CountDownLatch(n);
        AtomicReference<Throwable> wrong = new AtomicReference<>();
        for (int i = 0; i < n; i++) {
            p.send(env.message("a" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult r) {
                    left.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    wrong.set(e);
                    left.countDown();
                }
            });
        }
        Env.check("callbacks still open: " + left.getCount(), left.await(60, TimeUnit.SECONDS));
        if (wrong.get() != null) {
            throw new AssertionError("async send", wrong.get());
        }
        consume(env).exactly("a", n, 60);
    }

    /** The topic exists after this. */
    static DefaultMQProducer warm(Env env, DefaultMQProducer p) throws Exception {
        MessageQueue q = Env.sent(p.send(env.message("warm"))).getMessageQueue();
        Env.until("route of " + env.topic, 30, () -> {
            try {
                return !p.fetchPublishMessageQueues(env.topic).isEmpty();
            } catch (Exception e) {
                return false;
            }
        });
        end(p, q, 1);
        return p;
    }

    /** Waits for the queue's end: the real broker builds its index after the ack, and the route takes a moment too. */
    static void end(DefaultMQProducer p, MessageQueue q, long want) throws Exception {
        Env.until("end of queue " + q.getQueueId() + " at " + want, 30, () -> {
            try {
                return p.maxOffset(q) == want;
            } catch (MQClientException e) {
                return false;
            }
        });
    }

    private static void oneway(Env env) throws Exception {
        DefaultMQProducer p = warm(env, env.producer());
        for (int i = 0; i < 100; i++) {
            p.sendOneway(env.message("o" + i));
        }
        consume(env).exactly("o", 100, 60);
    }

    private static void batch(Env env) throws Exception {
        DefaultMQProducer p = warm(env, env.producer());
        MessageQueue q = env.queues(p).get(1);
        List<Message> ms = new ArrayList<>();
        for (int i = 0; i < 64; i++) {
            ms.add(env.message("b" + i));
        }
        long before = p.maxOffset(q);
        SendResult r = Env.sent(p.send(ms, q));
        Env.equal("first offset of the batch", before, r.getQueueOffset());
        Env.equal("ids of the batch", 64, r.getMsgId().split(",").length);
        Env.equal("offset ids of the batch", 64, r.getOffsetMsgId().split(",").length);
        end(p, q, before + 64);
        Inbox in = consume(env);
        in.exactly("b", 64, 60);
        for (MessageExt m : in.messages) {
            String body = Inbox.body(m);
            if (!body.equals("warm")) {
                Env.equal("queue of " + body, 1, m.getQueueId());
                Env.equal("offset of " + body, before + Long.parseLong(body.substring(1)), m.getQueueOffset());
                Env.equal("key of " + body, "key-" + body, m.getKeys());
            }
        }
    }

    private static void toQueue(Env env) throws Exception {
        DefaultMQProducer p = warm(env, env.producer());
        MessageQueue q = env.queues(p).get(2);
        long at = p.maxOffset(q);
        for (int i = 0; i < 30; i++) {
            SendResult r = Env.sent(p.send(env.message("q" + i), (qs, m, id) -> {
                for (MessageQueue x : qs) {
                    if (x.getQueueId() == (Integer) id) {
                        return x;
                    }
                }
                throw new AssertionError("no queue " + id);
            }, 2));
            Env.equal("offset", at + i, r.getQueueOffset());
        }
        end(p, q, at + 30);
    }

    private static void autoCreate(Env env) throws Exception {
        Inbox in = consume(env);
        DefaultMQProducer p = env.producer();
        env.sendMany(p, "n", 16);
        in.exactly("n", 16, 90);
        Env.until("four queues in the route", 30, () -> env.queues(p).size() == 4);
        Set<Integer> used = new HashSet<>();
        for (MessageExt m : in.messages) {
            used.add(m.getQueueId());
        }
        Env.equal("queues used", 4, used.size());
    }
}

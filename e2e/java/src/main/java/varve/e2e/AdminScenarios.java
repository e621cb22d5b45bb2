package varve.e2e;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What an operator does to a living consumer. */
final class AdminScenarios {
    private AdminScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("reset-offset", AdminScenarios::reset);
        m.put("consume-directly", AdminScenarios::directly);
        m.put("query-by-id", AdminScenarios::byId);
    }

    /** Reset to the first offset, then to the end, while the consumer lives. */
    private static void reset(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Map<String, AtomicInteger> times = new ConcurrentHashMap<>();
        AtomicBoolean stuck = new AtomicBoolean();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            msgs.forEach(m -> times.computeIfAbsent(Inbox.body(m), b -> new AtomicInteger()).incrementAndGet());
            return stuck.get() ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        env.sendMany(p, "r", 40);
        Env.until("all once (have " + times.size() + ")", 60, () -> times.size() == 41);
        DefaultMQAdminExt admin = env.admin();
        Env.equal("queues reset", 4, admin.resetOffsetByTimestamp(env.topic, env.group, 0, true).size());
        Env.until("all a second time (have " + times + ")", 60, () -> times.values().stream().allMatch(n -> n.get() >= 2));
        env.sendMany(p, "after", 8);
        Env.until("what was sent afterwards", 60, () -> times.size() == 49);
        for (int i = 0; i < 8; i++) {
            Env.equal("deliveries of after" + i, 1, times.get("after" + i).get());
        }
    }

    /** The broker has a member of the group consume one message by itself and tells what came of it. */
    private static void directly(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Inbox in = new Inbox();
        AtomicBoolean fails = new AtomicBoolean();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            in.messages.addAll(msgs);
            return fails.get() ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        SendResult r = Env.sent(p.send(env.message("once0")));
        in.exactly("once", 1, 60);
        String client = c.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        DefaultMQAdminExt admin = env.admin();
        Object result = admin.consumeMessageDirectly(env.group, client, env.topic, r.getMsgId());
        Env.equal("result", "CR_SUCCESS", Reflect.call(result, "getConsumeResult").toString());
        Env.equal("deliveries", 2, in.countOf("once"));
        fails.set(true);
        result = admin.consumeMessageDirectly(env.group, client, env.topic, r.getMsgId());
        Env.equal("result of a failure", "CR_LATER", Reflect.call(result, "getConsumeResult").toString());
        Env.equal("deliveries", 3, in.countOf("once"));
        try {
            admin.consumeMessageDirectly(env.group, "nobody@nowhere", env.topic, r.getMsgId());
            throw new AssertionError("a client that isn't there consumed");
        } catch (Exception e) {
            env.note("unknown client: " + TimedScenarios.first(e));
        }
    }

    private static void byId(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        SendResult r = Env.sent(p.send(env.message("found")));
        ids(env, p, r, "found");
    }

    /** The message is found by unique key, by offset id and by key. */
    static void ids(Env env, DefaultMQProducer p, SendResult r, String body) throws Exception {
        Env.until("the index has it", 30, () -> byKey(env, p, body) == 1);
        for (String id : new String[] {r.getMsgId(), r.getOffsetMsgId()}) {
            MessageExt m = p.viewMessage(env.topic, id);
            Env.check("nothing by " + id, m != null);
            Env.equal("body by " + id, body, Inbox.body(m));
            Env.equal("topic by " + id, env.topic, m.getTopic());
            Env.equal("queue by " + id, r.getMessageQueue().getQueueId(), m.getQueueId());
            Env.equal("offset by " + id, r.getQueueOffset(), m.getQueueOffset());
            Env.equal("key by " + id, "key-" + body, m.getKeys());
        }
        Env.equal("by another topic's key", 0, byKey(env, p, "no such"));
    }

    private static int byKey(Env env, DefaultMQProducer p, String body) throws Exception {
        try {
            List<MessageExt> l = p.queryMessage(env.topic, "key-" + body, 8, 0, System.currentTimeMillis() + 60_000).getMessageList();
            for (MessageExt m : l) {
                Env.equal("body by key", body, Inbox.body(m));
            }
            return l.size();
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            return 0;
        }
    }
}

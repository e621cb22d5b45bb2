package varve.e2e;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;

/** Messages due at a time, and messages taken back before it. */
final class TimedScenarios {
    private static final long SECOND = 1_000;

    private TimedScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("timed", TimedScenarios::timed);
        m.put("timed-recall", TimedScenarios::recall);
    }

    /** When each body came. */
    private static Map<String, Long> arrivals(Env env) throws Exception {
        Map<String, Long> at = new ConcurrentHashMap<>();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            msgs.forEach(m -> at.put(Inbox.body(m), System.currentTimeMillis()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        Env.until("the warm-up message", 60, () -> at.containsKey("warm"));
        return at;
    }

    /** Clients before 5.0 have no method for it; the property is the same. */
    private static Message due(Message m, long at) throws Exception {
        if (Reflect.has(m, "setDeliverTimeMs")) {
            Reflect.call(m, "setDeliverTimeMs", at);
        } else {
            MessageAccessor.putProperty(m, "TIMER_DELIVER_MS", String.valueOf(at));
        }
        return m;
    }

    private static void timed(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Map<String, Long> at = arrivals(env);
        long now = System.currentTimeMillis();
        Map<String, Long> want = new HashMap<>();
        for (int i = 0; i < 12; i++) {
            long due = now + 3 * SECOND + i % 4 * 1_500;
            want.put("t" + i, due);
            Env.sent(p.send(due(env.message("t" + i), due)));
        }
        Env.sent(p.send(due(env.message("past"), now - 60 * SECOND)));
        Message after = env.message("after");
        MessageAccessor.putProperty(after, "TIMER_DELAY_SEC", "2");
        Env.sent(p.send(after));
        want.put("after", System.currentTimeMillis() + 2 * SECOND);
        Env.until("all timed messages (have " + at.size() + ")", 60, () -> at.keySet().containsAll(want.keySet()) && at.containsKey("past"));
        long worst = 0;
        for (Map.Entry<String, Long> e : want.entrySet()) {
            long late = at.get(e.getKey()) - e.getValue();
            // The real broker's wheel turns by the second, and it rounds down.
            Env.check(e.getKey() + " came " + -late + " ms early", late > -SECOND);
            worst = Math.max(worst, late);
        }
        env.note("at most " + worst + " ms after their time");
        Env.check("came " + worst + " ms late", worst < 5 * SECOND);
    }

    private static void recall(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        if (!Reflect.has(p, "recallMessage")) {
            throw new Scope.Skip("this client can't recall");
        }
        Map<String, Long> at = arrivals(env);
        long due = System.currentTimeMillis() + 6 * SECOND;
        SendResult kept = Env.sent(p.send(due(env.message("kept"), due)));
        SendResult gone = Env.sent(p.send(due(env.message("gone"), due)));
        String handle = (String) Reflect.call(gone, "getRecallHandle");
        Env.check("a handle: " + handle, handle != null && !handle.isEmpty());
        Env.check("handles differ", !handle.equals(Reflect.call(kept, "getRecallHandle")));
        Env.equal("id of what was recalled", gone.getMsgId(), Reflect.call(p, "recallMessage", env.topic, handle));
        Env.until("the message that was not recalled", 60, () -> at.containsKey("kept"));
        Env.throughout("the recalled message came", 3, () -> !at.containsKey("gone"));
        try {
            Reflect.call(p, "recallMessage", env.topic, "nonsense");
            throw new AssertionError("a handle that is none was taken");
        } catch (Scope.Skip e) {
            throw e;
        } catch (Exception e) {
            env.note("no handle: " + first(e));
        }
    }

    /** The first line of what an exception says. */
    static String first(Throwable e) {
        String s = String.valueOf(e.getMessage());
        int end = s.indexOf('\n');
        return (end < 0 ? s : s.substring(0, end)).replaceAll("\\s*For more information.*", "").trim();
    }
}

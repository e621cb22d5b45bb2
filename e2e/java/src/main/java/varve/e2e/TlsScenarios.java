package varve.e2e;

import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** TLS on the ports that plain clients use too, and on ports that take nothing else. */
final class TlsScenarios {
    private TlsScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("tls", TlsScenarios::together);
    }

    static void addEnforcedTo(Map<String, Scenario<Env>> m) {
        m.put("tls-enforced", TlsScenarios::enforced);
    }

    private static ConcurrentLinkedQueue<MessageExt> consume(Env env, String group) throws Exception {
        ConcurrentLinkedQueue<MessageExt> seen = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer c = env.push(group);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            seen.addAll(msgs);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        return seen;
    }

    private static void round(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        env.sendMany(p, "t", 30);
        p.setCompressMsgBodyOverHowmuch(8 << 20);
        byte[] large = ShapeScenarios.random(3 << 20, 5);
        Env.sent(p.send(new Message(env.topic, "L", large), 30_000));
        ConcurrentLinkedQueue<MessageExt> seen = consume(env, env.group);
        Env.until("32 messages (have " + seen.size() + ")", 60, () -> seen.size() == 32);
        Env.check("the large body as sent", seen.stream().anyMatch(m -> Arrays.equals(large, m.getBody())));
        Env.equal("topic known to the tool", true, env.admin().fetchAllTopicList().getTopicList().contains(env.topic));
    }

    /** Sent over TLS, read over TLS and plainly. */
    private static void together(Env env) throws Exception {
        env.tls(true);
        round(env);
        env.tls(false);
        ConcurrentLinkedQueue<MessageExt> plain = consume(env, env.group + "_plain");
        Env.until("32 messages without TLS (have " + plain.size() + ")", 60, () -> plain.size() == 32);
    }

    private static void enforced(Env env) throws Exception {
        env.tls(true);
        round(env);
        env.tls(false);
        try {
            DefaultMQProducer p = env.producer();
            p.send(env.message("plain"), 3_000);
            throw new AssertionError("a plain connection was served");
        } catch (Exception e) {
            env.note("plain: " + TimedScenarios.first(e));
        }
    }
}

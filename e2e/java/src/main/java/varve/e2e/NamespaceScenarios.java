package varve.e2e;

import java.util.Map;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Two tenants with the same names: as part of the names (4.x) and beside them (5.x). */
final class NamespaceScenarios {
    private interface Setter {
        void set(ClientConfig c, String namespace) throws Exception;
    }

    private NamespaceScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("namespace-old", env -> tenants(env, ClientConfig::setNamespace));
        m.put("namespace-new", env -> {
            if (!Reflect.has(new ClientConfig(), "setNamespaceV2")) {
                throw new Scope.Skip("this client has no namespaces beside names");
            }
            tenants(env, (c, ns) -> Reflect.call(c, "setNamespaceV2", ns));
        });
    }

    private static DefaultMQProducer producer(Env env, Setter s, String namespace) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("p_" + env.topic);
        env.configure(p);
        s.set(p, namespace);
        p.start();
        env.onClose(p::shutdown);
        return p;
    }

    /** Consumes and lets every message fail once. */
    private static Inbox consume(Env env, Setter s, String namespace) throws Exception {
        Inbox in = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        s.set(c, namespace);
        c.subscribe(env.topic, "TagA");
        c.setConsumeMessageBatchMaxSize(1);
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (Inbox.body(msgs.get(0)).endsWith("0") && msgs.get(0).getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            in.messages.addAll(msgs);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        return in;
    }

    private static void tenants(Env env, Setter s) throws Exception {
        DefaultMQProducer a = producer(env, s, "tenant-a");
        DefaultMQProducer b = producer(env, s, "tenant-b");
        env.sendMany(a, "a", 12);
        env.sendMany(b, "b", 12);
        Inbox inA = consume(env, s, "tenant-a");
        Inbox inB = consume(env, s, "tenant-b");
        inA.exactly("a", 12, 120);
        inB.exactly("b", 12, 120);
        Env.equal("of the other tenant at a", 0, inA.countOf("b"));
        Env.equal("of the other tenant at b", 0, inB.countOf("a"));
        for (MessageExt m : inA.messages) {
            Env.equal("topic as the client names it", env.topic, m.getTopic());
        }
    }
}

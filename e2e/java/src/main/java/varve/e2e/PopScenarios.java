package varve.e2e;

import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Push consumers that pop: the broker assigns, every member sees every queue, each message is acked by itself. */
final class PopScenarios {
    private static final String CHECKPOINT = "POP_CK";

    private PopScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("push-pop-retry", PopScenarios::retry);
        m.put("push-pop", PopScenarios::pop);
    }

    /** The broker's address, as the route of the topic has it. */
    static String broker(DefaultMQProducer p, Env env) throws Exception {
        return p.getDefaultMQProducerImpl().getMqClientFactory().findBrokerAddressInPublish(env.queues(p).get(0).getBrokerName());
    }

    private static DefaultMQPushConsumer member(Env env) throws Exception {
        DefaultMQPushConsumer c = env.push(env.group);
        Reflect.call(c, "setClientRebalance", false);
        c.subscribe(env.topic, "*");
        return c;
    }

    private static void mode(Env env, DefaultMQProducer p) throws Exception {
        if (!Reflect.has(env.push(env.group), "setClientRebalance")) {
            throw new Scope.Skip("this client has no pop consumer");
        }
        Reflect.call(env.admin(), "setMessageRequestMode", broker(p, env), env.topic, env.group, "POP", 0, 10_000L);
    }

    /** Two members share the messages of all queues, and what was acked doesn't come again to the next one. */
    private static void pop(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        mode(env, p);
        Inbox all = new Inbox();
        DefaultMQPushConsumer one = member(env);
        all.listen(one);
        one.start();
        DefaultMQPushConsumer two = member(env);
        all.listen(two);
        two.start();
        env.sendMany(p, "pop", 200);
        all.exactly("pop", 200, 90);
        for (MessageExt m : all.messages) {
            Env.check("popped, not pulled: " + m.getProperties(), m.getProperty(CHECKPOINT) != null);
            Env.equal("topic", env.topic, m.getTopic());
        }
        one.shutdown();
        two.shutdown();
        env.sendMany(p, "later", 20);
        Inbox after = new Inbox();
        DefaultMQPushConsumer three = member(env);
        after.listen(three);
        three.start();
        after.exactly("later", 20, 90);
        Env.equal("messages that had been acked", 0, after.countOf("pop"));
    }

    /** What fails comes again from the pop retry topic, with its count, under the topic's own name. */
    private static void retry(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        mode(env, p);
        Inbox done = new Inbox();
        DefaultMQPushConsumer c = member(env);
        c.setConsumeMessageBatchMaxSize(1);
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (msgs.get(0).getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            done.messages.addAll(msgs);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        env.sendMany(p, "again", 5);
        done.exactly("again", 5, 150);
        for (MessageExt m : done.messages) {
            Env.equal("topic", env.topic, m.getTopic());
            Env.equal("key", "key-" + (Inbox.body(m).equals("warm") ? "warm" : Inbox.body(m)), m.getKeys());
        }
    }
}

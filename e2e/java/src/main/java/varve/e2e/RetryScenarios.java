package varve.e2e;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Redelivery: the retry topic, its delay levels, the dead letter queue, delayed messages. */
@SuppressWarnings("deprecation")
final class RetryScenarios {
    private RetryScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("retry-dlq", RetryScenarios::retryToDlq);
        m.put("retry-then-success", RetryScenarios::retryThenSuccess);
        m.put("delay-level", RetryScenarios::delayLevel);
    }

    private static String view(MessageExt m) {
        return m.getTopic() + "|" + Inbox.body(m) + "|" + m.getMsgId() + "|" + m.getKeys() + "|" + m.getTags();
    }

    private static void retryToDlq(Env env) throws Exception {
        DefaultMQProducer p = env.producer();
        SendResult sent = Env.sent(p.send(env.message("dead")));
        ConcurrentLinkedQueue<MessageExt> seen = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer c = env.push(env.group);
        c.setMaxReconsumeTimes(1);
        c.subscribe(env.topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            seen.addAll(msgs);
            context.setDelayLevelWhenNextConsume(2);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        c.start();
        Env.until("delivered twice", 150, () -> seen.size() >= 2);
        List<MessageExt> all = new ArrayList<>(seen);
        Env.equal("first delivery", 0, all.get(0).getReconsumeTimes());
        Env.equal("second delivery", 1, all.get(1).getReconsumeTimes());
        Env.equal("same message", view(all.get(0)), view(all.get(1)));
        Env.equal("id", sent.getMsgId(), all.get(1).getMsgId());
        DefaultMQPullConsumer d = env.pull(env.group + "_dlq");
        MessageQueue dlq = new MessageQueue("%DLQ%" + env.group, sent.getMessageQueue().getBrokerName(), 0);
        Env.until("in the dead letter queue", 60, () -> {
            try {
                return d.maxOffset(dlq) == 1;
            } catch (Exception e) {
                return false;
            }
        });
        PullResult r = d.pull(dlq, "*", 0, 8);
        Env.equal("status", PullStatus.FOUND, r.getPullStatus());
        MessageExt m = r.getMsgFoundList().get(0);
        Env.equal("body", "dead", Inbox.body(m));
        Env.equal("key", "key-dead", m.getKeys());
        Env.equal("id", sent.getMsgId(), m.getMsgId());
        Env.equal("origin topic", env.topic, m.getProperty("RETRY_TOPIC"));
        Env.equal("deliveries", 2, seen.size());
    }

    private static void retryThenSuccess(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        env.sendMany(p, "again", 10);
        Inbox done = new Inbox();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "TagA");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (msgs.get(0).getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            done.messages.addAll(msgs);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.setConsumeMessageBatchMaxSize(1);
        c.start();
        done.exactly("again", 10, 150);
        for (MessageExt m : done.messages) {
            Env.equal("topic", env.topic, m.getTopic());
        }
    }

    private static void delayLevel(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        Inbox in = SendScenarios.consume(env);
        Env.until("the warm-up message", 60, () -> in.messages.size() == 1);
        Message m = env.message("later");
        m.setDelayTimeLevel(2);
        long start = System.nanoTime();
        Env.sent(p.send(m));
        Env.until("the delayed message", 60, () -> in.countOf("later") == 1);
        long took = (System.nanoTime() - start) / 1_000_000;
        env.note("level 2 (5 s) came after " + took + " ms");
        Env.check("came after " + took + " ms, before its 5 s", took >= 4_900);
        Env.check("came after " + took + " ms, far too late", took < 20_000);
    }
}

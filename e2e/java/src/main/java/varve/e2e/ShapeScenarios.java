package varve.e2e;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Messages of unusual shape: the largest, compressed, bare, empty. */
@SuppressWarnings("deprecation")
final class ShapeScenarios {
    private static final int SEND_MESSAGE_V2 = 310;

    private ShapeScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("body-largest", ShapeScenarios::largest);
        m.put("body-too-large", ShapeScenarios::tooLarge);
        m.put("body-compressed", ShapeScenarios::compressed);
        m.put("message-bare", ShapeScenarios::bare);
        m.put("message-empty-key", ShapeScenarios::emptyKey);
        m.put("properties-many", ShapeScenarios::properties);
    }

    static byte[] random(int n, long seed) {
        byte[] b = new byte[n];
        new Random(seed).nextBytes(b);
        return b;
    }

    /** Properties whose values a signature has to take as they are. */
    static Message withUnusualProperties(Message m) {
        m.putUserProperty("blanks", " a  b ");
        m.putUserProperty("unicode", "é漢 = & + %");
        return m;
    }

    private static MessageExt only(Env env, MessageQueue q, long at) throws Exception {
        DefaultMQPullConsumer c = env.pull(env.group);
        c.setConsumerPullTimeoutMillis(30_000);
        PullResult r = c.pull(q, "*", at, 4);
        Env.equal("status", PullStatus.FOUND, r.getPullStatus());
        Env.equal("messages", 1, r.getMsgFoundList().size());
        return r.getMsgFoundList().get(0);
    }

    private static void largest(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        p.setCompressMsgBodyOverHowmuch(8 << 20);
        MessageQueue q = env.queues(p).get(0);
        long at = p.maxOffset(q);
        byte[] body = random((4 << 20) - 1, 7);
        Env.sent(p.send(new Message(env.topic, body), q, 30_000));
        Env.check("body of 4 MiB - 1", Arrays.equals(body, only(env, q, at).getBody()));
    }

    private static void tooLarge(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        p.setCompressMsgBodyOverHowmuch(8 << 20);
        p.setMaxMessageSize(16 << 20);
        MessageQueue q = env.queues(p).get(0);
        try {
            p.send(new Message(env.topic, random((4 << 20) + 1024, 8)), q, 30_000);
            throw new AssertionError("a body over 4 MiB was taken");
        } catch (MQBrokerException e) {
            env.note("code " + e.getResponseCode());
            Env.equal("MESSAGE_ILLEGAL", 13, e.getResponseCode());
        }
        Env.sent(p.send(env.message("after"), q));
    }

    private static void compressed(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        long at = p.maxOffset(q);
        byte[] body = new byte[200_000];
        for (int i = 0; i < body.length; i++) {
            body[i] = (byte) ('a' + i % 17);
        }
        Env.sent(p.send(new Message(env.topic, "Z", body), q));
        MessageExt m = only(env, q, at);
        Env.check("body as sent", Arrays.equals(body, m.getBody()));
        Env.check("stored size " + m.getStoreSize() + " is that of a compressed body", m.getStoreSize() < body.length / 4);
    }

    /** A send as a foreign client may make it: no properties at all, then no body either. */
    private static void bare(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        long at = p.maxOffset(q);
        byte[] body = {'b', 'a', 'r', 'e'};
        RemotingCommand r = raw(env, p, q, body);
        Env.equal("code of the bare message (" + r.getRemark() + ")", 0, r.getCode());
        Env.check("body", Arrays.equals(body, only(env, q, at).getBody()));
        RemotingCommand e = raw(env, p, q, new byte[0]);
        env.note("empty body: code " + e.getCode());
        if (e.getCode() == 0) {
            Env.equal("empty body", 0, length(only(env, q, at + 1).getBody()));
        }
        Env.sent(p.send(env.message("after"), q));
    }

    private static int length(byte[] b) {
        return b == null ? 0 : b.length;
    }

    static RemotingCommand raw(Env env, DefaultMQProducer p, MessageQueue q, byte[] body) throws Exception {
        MQClientInstance f = p.getDefaultMQProducerImpl().getMqClientFactory();
        HashMap<String, String> h = new HashMap<>();
        h.put("a", "p_" + env.topic);
        h.put("b", env.topic);
        h.put("c", "TBW102");
        h.put("d", "4");
        h.put("e", String.valueOf(q.getQueueId()));
        h.put("f", "0");
        h.put("g", String.valueOf(System.currentTimeMillis()));
        h.put("h", "0");
        h.put("j", "0");
        h.put("k", "false");
        h.put("m", "false");
        RemotingCommand cmd = RemotingCommand.createRequestCommand(SEND_MESSAGE_V2, null);
        cmd.setExtFields(h);
        cmd.setBody(body);
        return f.getMQClientAPIImpl().getRemotingClient().invokeSync(f.findBrokerAddressInPublish(q.getBrokerName()), cmd, 10_000);
    }

    private static void emptyKey(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(1);
        long at = p.maxOffset(q);
        Message m = new Message(env.topic, "T", "", new byte[] {1, 2, 3});
        Env.sent(p.send(m, q));
        MessageExt got = only(env, q, at);
        Env.equal("body", "[1, 2, 3]", Arrays.toString(got.getBody()));
        Env.check("key is empty or absent: " + got.getKeys(), got.getKeys() == null || got.getKeys().isEmpty());
    }

    private static void properties(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(2);
        long at = p.maxOffset(q);
        Message m = env.message("many");
        StringBuilder v = new StringBuilder();
        for (int i = 0; i < 120; i++) {
            v.append("é漢");
        }
        List<String> names = new java.util.ArrayList<>();
        for (int i = 0; i < 40; i++) {
            names.add("prop." + i);
            m.putUserProperty("prop." + i, v.toString() + i);
        }
        Env.sent(p.send(m, q));
        MessageExt got = only(env, q, at);
        for (int i = 0; i < 40; i++) {
            Env.equal(names.get(i), v.toString() + i, got.getUserProperty(names.get(i)));
        }
        Message over = env.message("over");
        over.putUserProperty("huge", new String(new char[40_000]).replace('\0', 'x'));
        try {
            p.send(over, q);
            throw new AssertionError("properties over 32 KiB were taken");
        } catch (MQBrokerException | MQClientException e) {
            env.note("over the limit: " + (e instanceof MQBrokerException ? ((MQBrokerException) e).getResponseCode() : -1));
        }
        Env.sent(p.send(env.message("after"), q));
    }
}

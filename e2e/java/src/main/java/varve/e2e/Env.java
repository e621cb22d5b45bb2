package varve.e2e;

import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What a scenario of the remoting client works with. */
final class Env extends Scope {
    private static final AtomicInteger CLIENTS = new AtomicInteger();
    /** Of this process: an address and an instance's name are a client's id, by which replies find it. */
    private static final String PROCESS = Long.toString(System.nanoTime() & 0xffffffffL, 36);

    private final String namesrv;
    private RPCHook hook;
    private boolean tls;

    Env(String scenario, String namesrv, Harness harness) {
        super(scenario, harness);
        this.namesrv = namesrv;
    }

    /** Clients made from now on are this user's. */
    void as(String user, String secret) {
        hook = new AclClientRPCHook(new SessionCredentials(user, secret));
    }

    /** Clients made from now on are nobody's. */
    void anonymous() {
        hook = null;
    }

    /** Clients made from now on use TLS. */
    void tls(boolean on) {
        tls = on;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("p_" + topic, hook);
        configure(p);
        p.start();
        onClose(p::shutdown);
        return p;
    }

    /** Settings of producers: failures are seen, not retried. */
    void configure(DefaultMQProducer p) {
        p.setRetryTimesWhenSendFailed(0);
        p.setSendMsgTimeout(10_000);
        p.setDefaultTopicQueueNums(4);
        p.setMaxMessageSize(4 << 20);
        client(p);
    }

    /** The administration API, started. */
    DefaultMQAdminExt admin() throws Exception {
        DefaultMQAdminExt a = new DefaultMQAdminExt(hook, 10_000);
        client(a);
        a.start();
        onClose(a::shutdown);
        return a;
    }

    /** A push consumer from the first offset, not started. */
    DefaultMQPushConsumer push(String group) {
        return configure(new DefaultMQPushConsumer(group, hook, new AllocateMessageQueueAveragely()));
    }

    DefaultMQPushConsumer configure(DefaultMQPushConsumer c) {
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
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(group, hook);
        c.setPersistConsumerOffsetInterval(500);
        client(c);
        c.start();
        onClose(c::shutdown);
        return c;
    }

    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(group, hook);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.setAutoCommitIntervalMillis(1_000);
        client(c);
        onClose(c::shutdown);
        return c;
    }

    void client(ClientConfig c) {
        c.setNamesrvAddr(namesrv);
        c.setInstanceName("i" + PROCESS + "x" + CLIENTS.incrementAndGet());
        c.setPollNameServerInterval(1_000);
        c.setHeartbeatBrokerInterval(5_000);
        c.setUseTLS(tls);
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
}

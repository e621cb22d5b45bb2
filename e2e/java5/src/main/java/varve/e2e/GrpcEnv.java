package varve.e2e;

import java.io.Closeable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientConfigurationBuilder;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.StaticSessionCredentialsProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.subscription.CustomizedRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicyType;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What a scenario of the gRPC client works with. */
final class GrpcEnv extends Scope {
    private static final AtomicInteger CLIENTS = new AtomicInteger();
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();

    private final String endpoint;
    private String user;
    private String secret;
    private String namespace = "";
    private boolean tls;

    GrpcEnv(String scenario, String endpoint, Harness harness) {
        super(scenario, harness);
        this.endpoint = endpoint;
    }

    /** Clients made from now on are this user's. */
    void as(String name, String password) {
        user = name;
        secret = password;
    }

    /** Clients made from now on use TLS. */
    void tls(boolean on) {
        tls = on;
    }

    /** Clients made from now on are of this tenant. */
    void namespace(String name) {
        namespace = name;
    }

    /** The remoting client's administration API: topics have a type here, and groups are made beforehand. */
    DefaultMQAdminExt admin() throws Exception {
        RPCHook hook = user == null ? null : new AclClientRPCHook(new SessionCredentials("root", "root-secret-1"));
        DefaultMQAdminExt a = new DefaultMQAdminExt(hook, 10_000);
        a.setNamesrvAddr(System.getProperty("varve.namesrv"));
        a.setInstanceName("admin" + group + CLIENTS.incrementAndGet());
        a.setUseTLS(tls);
        a.start();
        onClose(a::shutdown);
        return a;
    }

    /** Makes the topic, of this type, and the group. */
    void make(String type, boolean orderly, int attempts) throws Exception {
        make("", type, orderly, attempts);
    }

    /** Makes a normal topic and the group in a namespace, whose name stands before theirs here. */
    void makeIn(String tenant) throws Exception {
        make(tenant + "%", "NORMAL", false, 16);
    }

    private void make(String prefix, String type, boolean orderly, int attempts) throws Exception {
        DefaultMQAdminExt a = admin();
        String broker = a.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().selectBrokerAddr();
        TopicConfig t = new TopicConfig(prefix + topic, 4, 4);
        t.setAttributes(Collections.singletonMap("+message.type", type));
        a.createAndUpdateTopicConfig(broker, t);
        group(a, broker, prefix + group, orderly, attempts);
        until("the topic's route", 60, () -> {
            try {
                return !a.examineTopicRouteInfo(prefix + topic).getQueueDatas().isEmpty();
            } catch (Exception e) {
                return false;
            }
        });
    }

    private static void group(DefaultMQAdminExt a, String broker, String name, boolean orderly, int attempts) throws Exception {
        SubscriptionGroupConfig g = new SubscriptionGroupConfig();
        g.setGroupName(name);
        g.setConsumeMessageOrderly(orderly);
        g.setRetryMaxTimes(attempts - 1);
        GroupRetryPolicy retries = new GroupRetryPolicy();
        retries.setType(GroupRetryPolicyType.CUSTOMIZED);
        retries.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {1_000}));
        g.setGroupRetryPolicy(retries);
        a.createAndUpdateSubscriptionGroupConfig(broker, g);
    }

    /** A normal topic, and a group whose messages are tried often. */
    void make() throws Exception {
        make("NORMAL", false, 16);
    }

    ClientConfiguration configuration() {
        ClientConfigurationBuilder b = ClientConfiguration.newBuilder().setEndpoints(endpoint).enableSsl(tls)
            .setRequestTimeout(Duration.ofSeconds(10)).setNamespace(namespace);
        if (user != null) {
            b.setCredentialProvider(new StaticSessionCredentialsProvider(user, secret));
        }
        return b.build();
    }

    private void closing(Closeable c) {
        onClose(() -> quietly(c));
    }

    /** Closing a push consumer waits for its receives, up to 20 s: that isn't a part of the scenario. */
    private void closingLater(Closeable c) {
        onClose(() -> {
            Thread t = new Thread(() -> quietly(c), "closing");
            t.setDaemon(true);
            t.start();
        });
    }

    static void quietly(Closeable c) {
        try {
            c.close();
        } catch (Exception e) { // closed already, as a part of the scenario
            System.err.println("closing: " + e);
        }
    }

    Producer producer() throws Exception {
        return producer(null);
    }

    Producer producer(TransactionChecker checker) throws Exception {
        org.apache.rocketmq.client.apis.producer.ProducerBuilder b = PROVIDER.newProducerBuilder()
            .setClientConfiguration(configuration()).setTopics(topic).setMaxAttempts(1);
        if (checker != null) {
            b.setTransactionChecker(checker);
        }
        Producer p = b.build();
        closing(p);
        return p;
    }

    PushConsumer push(FilterExpression filter, MessageListener l) throws Exception {
        PushConsumer c = PROVIDER.newPushConsumerBuilder().setClientConfiguration(configuration()).setConsumerGroup(group)
            .setSubscriptionExpressions(Collections.singletonMap(topic, filter)).setConsumptionThreadCount(8).setMessageListener(l).build();
        closingLater(c);
        return c;
    }

    SimpleConsumer simple(FilterExpression filter) throws Exception {
        SimpleConsumer c = PROVIDER.newSimpleConsumerBuilder().setClientConfiguration(configuration()).setConsumerGroup(group)
            .setSubscriptionExpressions(Collections.singletonMap(topic, filter)).setAwaitDuration(Duration.ofSeconds(5)).build();
        closing(c);
        return c;
    }

    static FilterExpression sql(String s) {
        return new FilterExpression(s, FilterExpressionType.SQL92);
    }

    MessageBuilder builder(String body) {
        return PROVIDER.newMessageBuilder().setTopic(topic).setTag("TagA").setKeys("key-" + body)
            .setBody(body.getBytes(StandardCharsets.UTF_8));
    }

    Message message(String body) {
        return builder(body).build();
    }

    void sendMany(Producer p, String prefix, int n) throws Exception {
        for (int i = 0; i < n; i++) {
            p.send(message(prefix + i));
        }
    }

    static byte[] bytes(MessageView m) {
        ByteBuffer b = m.getBody().duplicate();
        byte[] out = new byte[b.remaining()];
        b.get(out);
        return out;
    }

    static String body(MessageView m) {
        return new String(bytes(m), StandardCharsets.UTF_8);
    }

    /** Collects what consumers were given. */
    static final class Inbox {
        final ConcurrentLinkedQueue<MessageView> messages = new ConcurrentLinkedQueue<>();

        MessageListener listener() {
            return m -> {
                messages.add(m);
                return ConsumeResult.SUCCESS;
            };
        }

        int countOf(String prefix) {
            int n = 0;
            for (MessageView m : messages) {
                n += body(m).startsWith(prefix) ? 1 : 0;
            }
            return n;
        }

        /** Waits for n messages and demands exactly the set prefix0 … prefix(n-1), each once. */
        void exactly(String prefix, int n, long seconds) throws Exception {
            until(n + " messages of " + prefix, seconds, () -> countOf(prefix) >= n);
            Map<String, Integer> seen = new HashMap<>();
            for (MessageView m : messages) {
                if (body(m).startsWith(prefix)) {
                    seen.merge(body(m), 1, Integer::sum);
                }
            }
            Set<String> wrong = new TreeSet<>();
            for (int i = 0; i < n; i++) {
                Integer times = seen.remove(prefix + i);
                if (times == null || times != 1) {
                    wrong.add(prefix + i + " x" + times);
                }
            }
            check("lost or doubled: " + wrong + ", strangers: " + new HashSet<>(seen.keySet()), wrong.isEmpty() && seen.isEmpty());
        }
    }
}

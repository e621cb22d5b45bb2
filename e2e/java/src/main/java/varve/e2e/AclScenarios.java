package varve.e2e;

import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * A server that checks who asks and what that user may. The harness has made the users: app may publish to and read
 * topics that begin with acl and read as any group, reader may only read, writer only publish, nobody nothing.
 */
@SuppressWarnings("deprecation")
final class AclScenarios {
    private static final String SECRET = "-secret-1";

    private interface Body {
        void run() throws Exception;
    }

    private AclScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("acl-allowed", AclScenarios::allowed);
        m.put("acl-wrong-secret", AclScenarios::wrongSecret);
        m.put("acl-missing-right", AclScenarios::missingRight);
        m.put("acl-admin", AclScenarios::admin);
    }

    private static void as(Env env, String user) {
        env.as(user, user + SECRET);
    }

    private static DefaultMQProducer producer(Env env) throws Exception {
        as(env, "app");
        return SendScenarios.warm(env, env.producer());
    }

    /** Sends of all kinds, consumption with a retry, queries: nothing is refused to who may. */
    private static void allowed(Env env) throws Exception {
        DefaultMQProducer p = producer(env);
        env.sendMany(p, "s", 20);
        Env.sent(p.send(java.util.Arrays.asList(env.message("b0"), env.message("b1"))));
        Env.sent(p.send(ShapeScenarios.withUnusualProperties(env.message("u0"))));
        Inbox in = SendScenarios.consume(env);
        in.exactly("s", 20, 60);
        in.exactly("b", 2, 60);
        in.exactly("u", 1, 60);
        MessageExt some = in.messages.peek();
        Env.equal("by unique key", Inbox.body(some), Inbox.body(p.viewMessage(env.topic, some.getMsgId())));
    }

    /** What is refused, and in which words. */
    private static String refused(String what, Body b) throws Exception {
        try {
            b.run();
        } catch (MQBrokerException e) {
            Env.equal(what + ": NO_PERMISSION (" + e.getErrorMessage() + ")", 16, e.getResponseCode());
            return TimedScenarios.first(e);
        } catch (MQClientException e) {
            // A name server that checks too refuses the route already.
            Env.check(what + ": " + e, e.getResponseCode() == 16 || e.getResponseCode() == 1 || e.getResponseCode() == 10005);
            return TimedScenarios.first(e);
        }
        throw new AssertionError(what + " was not refused");
    }

    private static void wrongSecret(Env env) throws Exception {
        producer(env);
        env.as("app", "not the secret");
        env.note(refused("a wrong secret", () -> env.producer().send(env.message("x"))));
        env.as("stranger", "stranger" + SECRET);
        refused("an unknown user", () -> env.producer().send(env.message("x")));
        env.anonymous();
        refused("no user at all", () -> env.producer().send(env.message("x")));
    }

    private static void missingRight(Env env) throws Exception {
        DefaultMQProducer p = producer(env);
        MessageQueue q = env.queues(p).get(0);
        Env.sent(p.send(env.message("m"), q));
        as(env, "reader");
        env.note(refused("publishing without Pub", () -> env.producer().send(env.message("x"))));
        DefaultMQPullConsumer reads = env.pull(env.group);
        Env.check("reads with Sub", reads.pull(q, "*", 0, 8).getMsgFoundList().size() > 0);
        as(env, "writer");
        Env.sent(env.producer().send(env.message("w")));
        DefaultMQPullConsumer writes = env.pull(env.group + "_w");
        refused("reading without Sub", () -> writes.pull(q, "*", 0, 8));
        as(env, "nobody");
        refused("publishing without any right", () -> env.producer().send(env.message("x")));
    }

    private static void admin(Env env) throws Exception {
        DefaultMQProducer p = producer(env);
        String broker = PopScenarios.broker(p, env);
        DefaultMQAdminExt app = env.admin();
        TopicConfig t = new TopicConfig(env.topic + "_made");
        t.setReadQueueNums(2);
        t.setWriteQueueNums(2);
        env.note(refused("making a topic without the right", () -> app.createAndUpdateTopicConfig(broker, t)));
        as(env, "root");
        env.admin().createAndUpdateTopicConfig(broker, t);
    }
}

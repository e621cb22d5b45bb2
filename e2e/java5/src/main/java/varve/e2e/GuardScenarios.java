package varve.e2e;

import java.util.Map;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;

/** Who may connect, and as whom: TLS, access control, tenants. */
final class GuardScenarios {
    private static final String SECRET = "-secret-1";

    private interface Body {
        void run() throws Exception;
    }

    private GuardScenarios() {
    }

    static void addTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("tls", GuardScenarios::tls);
        m.put("namespace-new", GuardScenarios::namespaces);
    }

    static void addAclTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("acl-allowed", GuardScenarios::allowed);
        m.put("acl-wrong-secret", GuardScenarios::wrongSecret);
        m.put("acl-missing-right", GuardScenarios::missingRight);
    }

    static void addEnforcedTo(Map<String, Scenario<GrpcEnv>> m) {
        m.put("tls-enforced", GuardScenarios::enforced);
    }

    private static void round(GrpcEnv env, String prefix) throws Exception {
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, in.listener());
        env.sendMany(env.producer(), prefix, 20);
        in.exactly(prefix, 20, 60);
    }

    /** TLS and plaintext at one port: sent over one, read over the other. */
    private static void tls(GrpcEnv env) throws Exception {
        env.make();
        env.tls(true);
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, in.listener()).getConsumerGroup();
        env.tls(false);
        env.sendMany(env.producer(), "plain", 20);
        in.exactly("plain", 20, 60);
        env.tls(true);
        env.sendMany(env.producer(), "secret", 20);
        in.exactly("secret", 20, 60);
    }

    private static void enforced(GrpcEnv env) throws Exception {
        env.tls(true);
        env.make();
        round(env, "t");
        env.tls(false);
        try {
            Producer p = env.producer();
            p.send(env.message("plain"));
            throw new AssertionError("a plain connection was served");
        } catch (ClientException | RuntimeException e) {
            env.note("plain: " + e.getClass().getSimpleName());
        }
    }

    /** Two tenants with the same names. */
    private static void namespaces(GrpcEnv env) throws Exception {
        GrpcEnv.Inbox[] in = {new GrpcEnv.Inbox(), new GrpcEnv.Inbox()};
        env.makeIn("tenant-a");
        env.makeIn("tenant-b");
        for (int i = 0; i < 2; i++) {
            env.namespace("tenant-" + (char) ('a' + i));
            env.push(FilterExpression.SUB_ALL, in[i].listener());
        }
        env.namespace("tenant-a");
        env.sendMany(env.producer(), "a", 12);
        env.namespace("tenant-b");
        env.sendMany(env.producer(), "b", 12);
        in[0].exactly("a", 12, 60);
        in[1].exactly("b", 12, 60);
        Scope.equal("of the other tenant", 0, in[0].countOf("b") + in[1].countOf("a"));
        for (MessageView m : in[0].messages) {
            Scope.equal("topic as the client names it", env.topic, m.getTopic());
        }
    }

    private static void as(GrpcEnv env, String user) {
        env.as(user, user + SECRET);
    }

    private static void allowed(GrpcEnv env) throws Exception {
        as(env, "app");
        env.make();
        round(env, "s");
    }

    private static String refused(String what, Body b) throws Exception {
        try {
            b.run();
        } catch (ClientException | RuntimeException e) {
            return e.getClass().getSimpleName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
        }
        throw new AssertionError(what + " was not refused");
    }

    private static void wrongSecret(GrpcEnv env) throws Exception {
        as(env, "app");
        env.make();
        env.as("app", "not the secret");
        env.note(refused("a wrong secret", () -> env.producer().send(env.message("x"))));
        env.as("stranger", "stranger" + SECRET);
        refused("an unknown user", () -> env.producer().send(env.message("x")));
        env.as(null, null);
        refused("no user at all", () -> env.producer().send(env.message("x")));
    }

    private static void missingRight(GrpcEnv env) throws Exception {
        as(env, "app");
        env.make();
        env.producer().send(env.message("m0"));
        as(env, "reader");
        env.note(refused("publishing without Pub", () -> env.producer().send(env.message("x"))));
        GrpcEnv.Inbox in = new GrpcEnv.Inbox();
        env.push(FilterExpression.SUB_ALL, in.listener());
        as(env, "app");
        env.producer().send(env.message("n0"));
        in.exactly("n", 1, 60);
        as(env, "writer");
        env.producer().send(env.message("w0"));
        refused("receiving without Sub", () -> env.simple(FilterExpression.SUB_ALL).receive(1, java.time.Duration.ofSeconds(30)));
        as(env, "nobody");
        refused("publishing without any right", () -> env.producer().send(env.message("x")));
    }
}

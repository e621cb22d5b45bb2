package varve.e2e;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.trace.TraceView;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What clients build on messages: requests with replies, and traces. */
final class RequestScenarios {
    private static final String TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC";

    private RequestScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("request-reply", RequestScenarios::request);
        m.put("trace", RequestScenarios::trace);
    }

    private static void request(Env env) throws Exception {
        // Not warmed: a producer that doesn't know the topic yet sends a heartbeat before its first request, and only to a
        // client that the broker knows by a heartbeat can it hand the reply.
        DefaultMQProducer p = env.producer();
        DefaultMQProducer answers = env.producer();
        DefaultMQPushConsumer c = env.push(env.group);
        c.subscribe(env.topic, "*");
        ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            for (MessageExt m : msgs) {
                String body = Inbox.body(m);
                if (!body.startsWith("ask")) {
                    continue;
                }
                try {
                    answers.send(MessageUtil.createReplyMessage(m, ("answer to " + body).getBytes(StandardCharsets.UTF_8)));
                } catch (Exception e) {
                    wrong.add(body + ": " + e);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        for (int i = 0; i < 10; i++) {
            Message reply;
            try {
                reply = p.request(env.message("ask" + i), 30_000);
            } catch (RequestTimeoutException e) {
                throw new AssertionError("no reply; the side that answers: " + wrong, e);
            }
            Env.equal("reply", "answer to ask" + i, new String(reply.getBody(), StandardCharsets.UTF_8));
        }
        AtomicInteger left = new AtomicInteger(20);
        for (int i = 0; i < 20; i++) {
            String body = "ask-async" + i;
            p.request(env.message(body), new RequestCallback() {
                @Override
                public void onSuccess(Message m) {
                    String got = new String(m.getBody(), StandardCharsets.UTF_8);
                    if (!got.equals("answer to " + body)) {
                        wrong.add(body + ": " + got);
                    }
                    left.decrementAndGet();
                }

                @Override
                public void onException(Throwable e) {
                    wrong.add(body + ": " + e);
                    left.decrementAndGet();
                }
            }, 30_000);
        }
        Env.until("all replies", 60, () -> left.get() == 0);
        Env.check("wrong: " + wrong, wrong.isEmpty());
        try {
            p.request(env.message("nobody answers"), 1_000);
            throw new AssertionError("a reply nobody sent");
        } catch (RequestTimeoutException e) {
            Env.check("wrong: " + wrong, wrong.isEmpty());
        }
    }

    /** Producer and consumer leave their traces, which are found by the message's id as the tool does it. */
    private static void trace(Env env) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("p_" + env.topic, true, null);
        env.configure(p);
        p.start();
        env.onClose(p::shutdown);
        SendScenarios.warm(env, p);
        DefaultMQPushConsumer c = env.configure(new DefaultMQPushConsumer(env.group, true, null));
        c.subscribe(env.topic, "*");
        Inbox in = new Inbox();
        in.listen(c);
        c.start();
        String id = Env.sent(p.send(env.message("traced0"))).getMsgId();
        in.exactly("traced", 1, 60);
        DefaultMQProducer reader = env.producer();
        TreeSet<String> kinds = new TreeSet<>();
        Env.until("traces of its sending and its consumption", 60, () -> {
            kinds.clear();
            for (TraceView v : traces(reader, id)) {
                Env.equal("status of the trace", "success", v.getStatus());
                if (v.getMsgType().equals("Pub")) { // the others don't tell them
                    Env.equal("topic of the trace", env.topic, v.getTopic());
                    Env.equal("key of the trace", "key-traced0", v.getKeys());
                }
                kinds.add(v.getMsgType() + " " + v.getGroupName());
            }
            return kinds.size() >= 2;
        });
        env.note(String.valueOf(kinds.size()) + " kinds of trace");
        Env.check("of the producer: " + kinds, kinds.stream().anyMatch(k -> k.startsWith("Pub") && k.endsWith(" p_" + env.topic)));
        Env.check("of the consumer: " + kinds, kinds.stream().anyMatch(k -> k.startsWith("Sub") && k.endsWith(" " + env.group)));
    }

    private static List<TraceView> traces(DefaultMQProducer reader, String id) throws Exception {
        List<TraceView> all = new java.util.ArrayList<>();
        List<MessageExt> found;
        try {
            found = reader.queryMessage(TRACE_TOPIC, id, 64, 0, System.currentTimeMillis() + 60_000).getMessageList();
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            return all; // none yet
        }
        for (MessageExt m : found) {
            all.addAll(TraceView.decodeFromTraceTransData(id, m));
        }
        return all;
    }
}

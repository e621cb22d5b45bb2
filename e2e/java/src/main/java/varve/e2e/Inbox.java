package varve.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** Collects what a consumer was given and compares it with what was sent. */
final class Inbox {
    final ConcurrentLinkedQueue<MessageExt> messages = new ConcurrentLinkedQueue<>();

    void listen(DefaultMQPushConsumer c) {
        c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            messages.addAll(msgs);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    List<String> bodies() {
        List<String> all = new ArrayList<>();
        for (MessageExt m : messages) {
            all.add(body(m));
        }
        return all;
    }

    static String body(MessageExt m) {
        return new String(m.getBody(), StandardCharsets.UTF_8);
    }

    /** Waits for n messages and demands exactly the set prefix0 … prefix(n-1), each once. */
    void exactly(String prefix, int n, long seconds) throws Exception {
        Env.until(n + " messages of " + prefix + " (have " + messages.size() + ")", seconds, () -> countOf(prefix) >= n);
        Map<String, Integer> seen = new HashMap<>();
        for (String b : bodies()) {
            if (b.startsWith(prefix)) {
                seen.merge(b, 1, Integer::sum);
            }
        }
        Set<String> wrong = new TreeSet<>();
        for (int i = 0; i < n; i++) {
            Integer times = seen.remove(prefix + i);
            if (times == null || times != 1) {
                wrong.add(prefix + i + " x" + times);
            }
        }
        Env.check("lost or doubled: " + wrong + ", strangers: " + seen.keySet(), wrong.isEmpty() && seen.isEmpty());
    }

    int countOf(String prefix) {
        int n = 0;
        for (MessageExt m : messages) {
            if (body(m).startsWith(prefix)) {
                n++;
            }
        }
        return n;
    }
}

package varve.e2e;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Pull by offset, positions, search by time and by key. */
@SuppressWarnings("deprecation")
final class PullScenarios {
    private PullScenarios() {
    }

    static void addTo(Map<String, Scenario<Env>> m) {
        m.put("pull", PullScenarios::pull);
        m.put("pull-block", PullScenarios::pullBlock);
        m.put("lite-pull-assign", PullScenarios::liteAssign);
        m.put("lite-pull-subscribe", PullScenarios::liteSubscribe);
        m.put("offsets", PullScenarios::offsets);
        m.put("offset-search-by-time", PullScenarios::byTime);
        m.put("offset-min-max", PullScenarios::minMax);
        m.put("query-by-key", PullScenarios::byKey);
    }

    /** Sends n messages to one queue. */
    private static void fill(Env env, DefaultMQProducer p, MessageQueue q, String prefix, int n) throws Exception {
        long end = 0;
        for (int i = 0; i < n; i++) {
            end = Env.sent(p.send(env.message(prefix + i), q)).getQueueOffset() + 1;
        }
        SendScenarios.end(p, q, end);
    }

    private static void pull(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        long from = p.maxOffset(q);
        fill(env, p, q, "p", 100);
        DefaultMQPullConsumer c = env.pull(env.group);
        long at = from;
        List<String> got = new ArrayList<>();
        while (at < from + 100) {
            PullResult r = c.pull(q, "*", at, 16);
            Env.equal("status at " + at, PullStatus.FOUND, r.getPullStatus());
            Env.check("at most 16, got " + r.getMsgFoundList().size(), r.getMsgFoundList().size() <= 16);
            for (MessageExt m : r.getMsgFoundList()) {
                Env.equal("offset", at++, m.getQueueOffset());
                got.add(Inbox.body(m));
            }
            Env.equal("next", at, r.getNextBeginOffset());
            Env.equal("max", from + 100, r.getMaxOffset());
            Env.equal("min", 0L, r.getMinOffset());
        }
        Env.equal("first and last", "p0 p99", got.get(0) + " " + got.get(99));
        Env.equal("at the end", PullStatus.NO_NEW_MSG, c.pull(q, "*", at, 16).getPullStatus());
        PullResult beyond = c.pull(q, "*", at + 1_000, 16);
        Env.equal("beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Env.equal("sent back to", at, beyond.getNextBeginOffset());
        PullResult none = c.pull(q, "Nothing", from, 16);
        Env.equal("no such tag", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Env.check("moves on", none.getNextBeginOffset() > from);
    }

    private static void pullBlock(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(3);
        long at = p.maxOffset(q);
        DefaultMQPullConsumer c = env.pull(env.group);
        c.pull(q, "*", at, 1);
        Thread sender = new Thread(() -> {
            try {
                fill(env, p, q, "blocked", 1);
            } catch (Exception e) {
                System.err.println("pull-block: " + e);
            }
        });
        sender.start();
        PullResult r = c.pullBlockIfNotFound(q, "*", at, 8);
        sender.join();
        Env.equal("status", PullStatus.FOUND, r.getPullStatus());
        Env.equal("body", "blocked0", Inbox.body(r.getMsgFoundList().get(0)));
    }

    private static void liteAssign(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(0);
        long from = p.maxOffset(q);
        fill(env, p, q, "l", 80);
        DefaultLitePullConsumer c = env.lite(env.group);
        c.setAutoCommit(false);
        // Paused before it starts, so that no pull is under way at the seek: the client writes down where one that was
        // goes on without a look at the seek meanwhile, and would read from there after the first pull of the new place.
        c.assign(Collections.singletonList(q));
        c.pause(Collections.singletonList(q));
        c.start();
        c.seek(q, from + 30);
        c.resume(Collections.singletonList(q));
        long at = from + 30;
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (at < from + 80 && System.nanoTime() < deadline) {
            for (MessageExt m : c.poll(1_000)) {
                Env.equal("offset", at++, m.getQueueOffset());
            }
        }
        Env.equal("read to", from + 80, at);
        c.commitSync();
        Env.until("committed", 30, () -> c.committed(q) == from + 80);
    }

    private static void liteSubscribe(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        DefaultLitePullConsumer c = env.lite(env.group);
        c.subscribe(env.topic, "*");
        c.start();
        env.sendMany(p, "ls", 100);
        Inbox in = new Inbox();
        Env.until("100 messages by poll", 60, () -> {
            in.messages.addAll(c.poll(200));
            return in.countOf("ls") >= 100;
        });
        in.exactly("ls", 100, 1);
    }

    private static void offsets(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(1);
        fill(env, p, q, "of", 20);
        DefaultMQPullConsumer c = env.pull(env.group);
        Env.equal("no offset yet", true, c.fetchConsumeOffset(q, true) <= 0);
        c.updateConsumeOffset(q, 12);
        DefaultMQPullConsumer other = env.pull(env.group);
        // The real broker drops a commit of a group that it hasn't had a heartbeat of yet, and 4.9 beats late.
        Env.until("stored offset", 40, () -> {
            c.getOffsetStore().persistAll(Collections.singleton(q));
            return other.fetchConsumeOffset(q, true) == 12;
        });
        // A lower one is taken too: the last writer wins.
        // The first client forgets its own, or it would go on committing that every five seconds.
        c.getOffsetStore().removeOffset(q);
        Env.until("lower offset", 30, () -> {
            other.getOffsetStore().updateConsumeOffsetToBroker(q, 7, false);
            return other.fetchConsumeOffset(q, true) == 7;
        });
        Env.until("both clients are members of the group", 40, () -> {
            List<String> members = c.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory()
                .findConsumerIdList(env.topic, env.group);
            return members != null && new HashSet<>(members).size() == 2;
        });
    }

    private static void byTime(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        MessageQueue q = env.queues(p).get(2);
        DefaultMQPullConsumer c = env.pull(env.group);
        long from = p.maxOffset(q);
        for (int i = 0; i < 30; i++) {
            Env.sent(p.send(env.message("t" + i), q));
            // Different store times for some, equal ones for others.
            if (i % 3 == 0) {
                long now = System.currentTimeMillis();
                Env.until("the clock's next millisecond", 1, () -> System.currentTimeMillis() > now + 4);
            }
        }
        SendScenarios.end(p, q, from + 30);
        List<MessageExt> all = c.pull(q, "*", from, 32).getMsgFoundList();
        Env.equal("messages", 30, all.size());
        for (MessageExt m : all) {
            long want = from;
            while (all.get((int) (want - from)).getStoreTimestamp() < m.getStoreTimestamp()) {
                want++;
            }
            Env.equal("first at " + m.getStoreTimestamp(), want, c.searchOffset(q, m.getStoreTimestamp()));
        }
        Env.equal("before all", c.minOffset(q), c.searchOffset(q, 1_000));
        Env.equal("after all", c.maxOffset(q), c.searchOffset(q, System.currentTimeMillis() + 3_600_000));
    }

    private static void minMax(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        long total = 0;
        for (MessageQueue q : env.queues(p)) {
            Env.equal("min of " + q.getQueueId(), 0L, p.minOffset(q));
            total += p.maxOffset(q);
        }
        Env.equal("one message in all", 1L, total);
        MessageQueue q = env.queues(p).get(0);
        long before = p.maxOffset(q);
        fill(env, p, q, "mm", 25);
        SendScenarios.end(p, q, before + 25);
        Env.check("earliest store time", p.earliestMsgStoreTime(q) > System.currentTimeMillis() - 600_000);
    }

    private static void byKey(Env env) throws Exception {
        DefaultMQProducer p = SendScenarios.warm(env, env.producer());
        SendResult r = null;
        for (int i = 0; i < 20; i++) {
            r = Env.sent(p.send(env.message("k" + i)));
        }
        SendResult last = r;
        long now = System.currentTimeMillis();
        Env.until("key-k19 in the index", 30, () -> {
            try {
                QueryResult found = p.queryMessage(env.topic, "key-k19", 8, now - 60_000, now + 60_000);
                return found.getMessageList().size() == 1 && Inbox.body(found.getMessageList().get(0)).equals("k19");
            } catch (Exception e) {
                return false;
            }
        });
        Env.equal("by offset id", "k19", Inbox.body(p.viewMessage(env.topic, last.getOffsetMsgId())));
        Env.equal("by unique id", "k19", Inbox.body(p.viewMessage(env.topic, last.getMsgId())));
    }
}

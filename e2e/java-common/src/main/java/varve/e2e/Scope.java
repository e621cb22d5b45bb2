package varve.e2e;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;

/** What every scenario works with: names of its own, what is closed after it, and checks. */
class Scope implements AutoCloseable {
    /** Thrown where the client or the server can't do what the scenario is about. */
    static final class Skip extends RuntimeException {
        Skip(String why) {
            super(why);
        }
    }

    private static final long POLL_MILLIS = 20;

    final String topic;
    final String group;
    private final Harness harness;
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private volatile String note = "";

    Scope(String scenario, Harness harness) {
        String run = Long.toString(System.nanoTime() & 0xffffffffL, 36);
        this.topic = scenario.replace('-', '_') + "_" + run;
        this.group = "g_" + topic;
        this.harness = harness;
    }

    final void note(String s) {
        note = s;
    }

    final String note() {
        return note;
    }

    /** Asks the harness to do something; false means that this server can't do it. */
    final boolean call(String verb, String argument) throws Exception {
        return harness.call(verb, argument);
    }

    static void equal(String what, Object want, Object got) {
        if (!Objects.equals(want, got)) {
            throw new AssertionError(what + ": want " + want + ", got " + got);
        }
    }

    static void check(String what, boolean ok) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    /** Polls until the condition holds; the other side is a server, so there is nothing to be told by. */
    static void until(String what, long seconds, Callable<Boolean> done) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!done.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("after " + seconds + " s still not: " + what);
            }
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
    }

    /** Fails as soon as the condition doesn't hold any more: for what must not happen within a time. */
    static void throughout(String what, long seconds, Callable<Boolean> holds) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (System.nanoTime() < end) {
            check(what, holds.call());
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
    }

    final void onClose(Runnable r) {
        synchronized (closers) {
            closers.push(r);
        }
    }

    @Override
    public final void close() {
        synchronized (closers) {
            while (!closers.isEmpty()) {
                try {
                    closers.pop().run();
                } catch (RuntimeException e) {
                    System.err.println(topic + ": closing: " + e);
                }
            }
        }
    }
}

package varve.e2e;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** The line protocol with the process that started this one. */
final class Harness {
    private static final long CALL_LIMIT_SECONDS = 180;

    private final PrintStream out;
    private final AtomicInteger next = new AtomicInteger();
    private final Map<Integer, CompletableFuture<String[]>> open = new ConcurrentHashMap<>();

    Harness(InputStream in, PrintStream out) {
        this.out = out;
        Thread t = new Thread(() -> read(in), "harness");
        t.setDaemon(true);
        t.start();
    }

    /** Asks the harness to do something; false means that this server can't do it. */
    boolean call(String verb, String argument) throws Exception {
        int id = next.incrementAndGet();
        CompletableFuture<String[]> answer = new CompletableFuture<>();
        open.put(id, answer);
        line("CALL\t" + id + "\t" + verb + "\t" + argument);
        String[] a = answer.get(CALL_LIMIT_SECONDS, TimeUnit.SECONDS);
        if (a[1].equals("error")) {
            throw new AssertionError(verb + " " + argument + ": " + (a.length > 2 ? a[2] : ""));
        }
        return a[1].equals("ok");
    }

    void result(String name, String verdict, long millis, String detail) {
        line("RESULT\t" + name + "\t" + verdict + "\t" + millis + "\t" + detail.replace('\n', ' ').replace('\t', ' '));
    }

    private synchronized void line(String s) {
        out.println(s);
        out.flush();
    }

    private void read(InputStream in) {
        try (BufferedReader r = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8))) {
            for (String s = r.readLine(); s != null; s = r.readLine()) {
                String[] f = s.split("\t", 3);
                CompletableFuture<String[]> c = open.remove(Integer.parseInt(f[0]));
                if (c != null) {
                    c.complete(f);
                }
            }
        } catch (IOException e) {
            open.values().forEach(c -> c.completeExceptionally(e));
        }
    }
}

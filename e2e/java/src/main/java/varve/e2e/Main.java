package varve.e2e;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs the scenarios against one name server and prints one line a scenario:
 * {@code RESULT<tab>name<tab>ok|FAIL|skip<tab>millis<tab>detail}.
 *
 * <p>What only the harness can do (archive, trim, restart) is asked for on standard output as
 * {@code CALL<tab>number<tab>verb<tab>argument} and answered on standard input as {@code number<tab>ok|skip|error<tab>text}.
 *
 * <p>Arguments: name server, number of scenarios at a time, then names (none = all).
 */
public final class Main {
    /** A scenario that hasn't come to its end by then has failed. */
    private static final long SCENARIO_LIMIT_SECONDS = 240;

    private Main() {
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        Harness harness = new Harness(System.in, out);
        Set<String> wanted = new HashSet<>(Arrays.asList(args).subList(2, args.length));
        ExecutorService pool = Executors.newFixedThreadPool(Integer.parseInt(args[1]));
        ExecutorService bodies = Executors.newCachedThreadPool();
        Map<String, Scenario> history = new LinkedHashMap<>();
        HistoryScenarios.addTo(history);
        List<Future<?>> running = new ArrayList<>();
        for (Map.Entry<String, Scenario> e : together().entrySet()) {
            if (wanted.isEmpty() || wanted.contains(e.getKey())) {
                running.add(pool.submit(() -> one(e.getKey(), e.getValue(), args[0], harness, bodies)));
            }
        }
        for (Future<?> f : running) {
            f.get();
        }
        // Alone: the log is trimmed by whole segments, and nobody else's fresh messages may hold one back.
        for (Map.Entry<String, Scenario> e : history.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(e.getKey())) {
                one(e.getKey(), e.getValue(), args[0], harness, bodies);
            }
        }
        out.flush();
        System.exit(0);
    }

    private static Map<String, Scenario> together() {
        Map<String, Scenario> m = new LinkedHashMap<>();
        // The slow ones first: they mostly wait.
        TransactionScenarios.addTo(m);
        RetryScenarios.addTo(m);
        ConsumeScenarios.addTo(m);
        SendScenarios.addTo(m);
        PullScenarios.addTo(m);
        ShapeScenarios.addTo(m);
        return m;
    }

    private static void one(String name, Scenario s, String namesrv, Harness harness, ExecutorService bodies) {
        long start = System.nanoTime();
        Env env = new Env(name, namesrv, harness);
        String verdict = "ok";
        String detail = "";
        Future<?> body = bodies.submit(() -> {
            s.run(env);
            return null;
        });
        try {
            body.get(SCENARIO_LIMIT_SECONDS, TimeUnit.SECONDS);
            detail = env.note();
        } catch (TimeoutException e) {
            body.cancel(true);
            verdict = "FAIL";
            detail = "not done after " + SCENARIO_LIMIT_SECONDS + " s";
        } catch (Exception e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            if (cause instanceof Env.Skip) {
                verdict = "skip";
                detail = cause.getMessage();
            } else {
                verdict = "FAIL";
                detail = String.valueOf(cause);
                cause.printStackTrace();
            }
        } finally {
            env.close();
        }
        harness.result(name, verdict, (System.nanoTime() - start) / 1_000_000, detail);
    }
}

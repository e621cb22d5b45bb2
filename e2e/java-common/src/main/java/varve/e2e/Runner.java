package varve.e2e;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiFunction;

/**
 * Runs scenarios against one server and prints one line a scenario:
 * {@code RESULT<tab>name<tab>ok|FAIL|skip<tab>millis<tab>detail}.
 *
 * <p>What only the harness can do (archive, trim, make topics) is asked for on standard output as
 * {@code CALL<tab>number<tab>verb<tab>argument} and answered on standard input as {@code number<tab>ok|skip|error<tab>text}.
 *
 * <p>Arguments: number of scenarios at a time, then names (none = all).
 */
final class Runner<E extends Scope> {
    /** A scenario that hasn't come to its end by then has failed. */
    private static final long SCENARIO_LIMIT_SECONDS = 240;

    private final BiFunction<String, Harness, E> scopes;
    private final ExecutorService bodies = Executors.newCachedThreadPool();
    private final Harness harness;
    private final ExecutorService pool;
    private final Set<String> wanted;

    Runner(String[] args, BiFunction<String, Harness, E> scopes) {
        PrintStream out = System.out;
        System.setOut(System.err);
        this.scopes = scopes;
        this.harness = new Harness(System.in, out);
        this.pool = Executors.newFixedThreadPool(Integer.parseInt(args[0]));
        this.wanted = new HashSet<>(Arrays.asList(args).subList(1, args.length));
    }

    /** Runs them side by side, started in their order. */
    void run(Map<String, Scenario<E>> list) throws Exception {
        List<Future<?>> running = new ArrayList<>();
        for (Map.Entry<String, Scenario<E>> e : list.entrySet()) {
            if (wants(e.getKey())) {
                running.add(pool.submit(() -> one(e.getKey(), e.getValue())));
            }
        }
        for (Future<?> f : running) {
            f.get();
        }
    }

    private boolean wants(String name) {
        return wanted.isEmpty() || wanted.contains(name);
    }

    private void one(String name, Scenario<E> s) {
        long start = System.nanoTime();
        E env = scopes.apply(name, harness);
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
            if (cause instanceof Scope.Skip) {
                verdict = "skip";
                detail = cause.getMessage();
            } else {
                verdict = "FAIL";
                detail = String.valueOf(cause);
                System.err.println(name + " of topic " + env.topic + ":");
                cause.printStackTrace();
            }
        } finally {
            env.close();
        }
        harness.result(name, verdict, (System.nanoTime() - start) / 1_000_000, detail);
    }
}

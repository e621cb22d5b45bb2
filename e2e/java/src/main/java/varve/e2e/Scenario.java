package varve.e2e;

/** One behaviour that an unmodified client relies on: run it end to end, throw what went wrong. */
interface Scenario {
    void run(Env env) throws Exception;
}

package varve.e2e;

/** One thing that clients do, from its beginning to its end; it throws what is wrong. */
interface Scenario<E extends Scope> {
    void run(E env) throws Exception;
}

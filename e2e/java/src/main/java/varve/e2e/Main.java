package varve.e2e;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The scenarios of the remoting client. Arguments: name server, number of scenarios at a time, then names (none = all).
 * The property varve.list names the list: "history" for the scenarios
 * that nobody may disturb, "acl" for a server that checks rights, "tls" for one that takes TLS alone.
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) throws Exception {
        String[] rest = java.util.Arrays.copyOfRange(args, 1, args.length);
        Runner<Env> runner = new Runner<>(rest, (name, harness) -> new Env(name, args[0], harness));
        Map<String, Scenario<Env>> list = new LinkedHashMap<>();
        switch (System.getProperty("varve.list", "main")) {
            case "acl":
                AclScenarios.addTo(list);
                break;
            case "tls":
                TlsScenarios.addEnforcedTo(list);
                break;
            case "history":
                HistoryScenarios.addTo(list);
                break;
            default:
                together(list);
        }
        runner.run(list);
        System.exit(0);
    }

    private static void together(Map<String, Scenario<Env>> m) {
        // The slow ones first: they mostly wait.
        RetryScenarios.addTo(m);
        OrderScenarios.addTo(m);
        TransactionScenarios.addTo(m);
        PopScenarios.addTo(m);
        TimedScenarios.addTo(m);
        AdminScenarios.addTo(m);
        RequestScenarios.addTo(m);
        NamespaceScenarios.addTo(m);
        TlsScenarios.addTo(m);
        ConsumeScenarios.addTo(m);
        SendScenarios.addTo(m);
        PullScenarios.addTo(m);
        ShapeScenarios.addTo(m);
    }
}

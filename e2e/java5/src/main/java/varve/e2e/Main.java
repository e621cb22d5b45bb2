package varve.e2e;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The scenarios of RocketMQ 5's gRPC client. Arguments: endpoint, number of scenarios at a time, then names (none = all).
 * The property varve.list names the list, as for the remoting client; varve.namesrv is where topics and groups are made.
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) throws Exception {
        String[] rest = Arrays.copyOfRange(args, 1, args.length);
        Runner<GrpcEnv> runner = new Runner<>(rest, (name, harness) -> new GrpcEnv(name, args[0], harness));
        Map<String, Scenario<GrpcEnv>> list = new LinkedHashMap<>();
        switch (System.getProperty("varve.list", "main")) {
            case "history":
                SimpleScenarios.addHistoryTo(list);
                break;
            case "acl":
                GuardScenarios.addAclTo(list);
                break;
            case "tls":
                GuardScenarios.addEnforcedTo(list);
                break;
            default:
                PushScenarios.addTo(list); // the slow ones first: they mostly wait
                ProducerScenarios.addTo(list);
                SimpleScenarios.addTo(list);
                GuardScenarios.addTo(list);
        }
        runner.run(list);
        System.exit(0);
    }
}

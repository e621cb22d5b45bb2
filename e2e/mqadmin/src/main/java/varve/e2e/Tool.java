package varve.e2e;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.List;

import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs mqadmin's own entry point once for each line of standard input, whose words are parted by tabs, and answers with
 * the number of bytes that it printed and those bytes. One process for many commands: each would take a start of Java.
 */
public final class Tool {
    private Tool() {
    }

    public static void main(String[] args) throws Exception {
        Field list = MQAdminStartup.class.getDeclaredField("SUB_COMMANDS");
        list.setAccessible(true);
        List<?> commands = (List<?>) list.get(null);
        PrintStream real = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            PrintStream capture = new PrintStream(said, true, "UTF-8");
            System.setOut(capture);
            System.setErr(capture);
            commands.clear(); // they keep clients that they have shut down; main0 makes them anew
            MQAdminStartup.main0(line.split("\t"), null);
            capture.flush();
            real.println(said.size());
            said.writeTo(real);
            real.flush();
        }
    }
}

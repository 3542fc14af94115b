// Says of each sentence whether it held, and starts what must be killed.

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;

public class Proofs {
    static final String SDK = System.getProperty("name", "java " + System.getProperty("sdk"));
    static final String CONTROL = System.getenv("SERVER_CONTROL");
    static final String NOT_OURS = "the server is not ours to restart";
    /** A push takes milliseconds; a busy machine takes its time. Clients of 2.x and 3.x never ask by themselves. */
    static final long PUSHED_MS = 30_000;
    static final long REDONE_MS = 60_000;

    /** What is proved stands on standard output, alone: loggers that write there are sent elsewhere. */
    private static final PrintStream SAYS = System.out;
    private static int passed;
    private static int failed;
    private static int skipped;
    private static final List<Process> STARTED = new ArrayList<>();

    static {
        System.setOut(System.err);
    }

    interface Proof {
        void prove() throws Exception;
    }

    static void holds(String sentence, Proof proof) {
        try {
            proof.prove();
            passed++;
            SAYS.println(SDK + ": " + sentence + " ... ok");
        } catch (Throwable why) {
            failed++;
            SAYS.println(SDK + ": " + sentence + " ... FAILED\n    " + sentenceOf(why).replace('\n', ' '));
            why.printStackTrace();
        }
    }

    static void skips(String sentence, String why) {
        skipped++;
        SAYS.println(SDK + ": " + sentence + " ... skipped: " + why);
    }

    static void is(Object what, boolean truth) {
        if (!truth) {
            throw new IllegalStateException(String.valueOf(what));
        }
    }

    static <T> T until(String what, long milliseconds, Callable<T> ask) throws Exception {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(milliseconds);
        Exception last = null;
        while (System.nanoTime() < end) {
            try {
                T answer = ask.call();
                if (answer != null && !Boolean.FALSE.equals(answer)) {
                    return answer;
                }
            } catch (Exception while_it_restarts) {
                last = while_it_restarts;
            }
            Thread.sleep(20);
        }
        throw new IllegalStateException("not within " + milliseconds + " ms: " + what, last);
    }

    static String sentenceOf(Throwable why) {
        StringBuilder all = new StringBuilder();
        for (Throwable at = why; at != null; at = at.getCause()) {
            all.append(at).append(' ');
        }
        return all.toString();
    }

    static void control(String verb) throws Exception {
        Process process = new ProcessBuilder(CONTROL, verb).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        is(verb, process.waitFor(60, TimeUnit.SECONDS) && process.exitValue() == 0);
    }

    /** The same program in a process of its own, from another main class; what it says goes to a file of its name. */
    static Process start(Class<?> main, String name) throws IOException {
        String home = System.getProperty("user.home");
        Process process = new ProcessBuilder(ProcessHandle.current().info().command().orElse("java"), "-Xmx160m",
                "-XX:TieredStopAtLevel=1", "-Duser.home=" + home + "/" + name, "-cp", System.getProperty("java.class.path"),
                main.getName(), name).redirectErrorStream(true)
                .redirectOutput(Path.of(home, name + ".log").toFile()).start();
        STARTED.add(process);
        return process;
    }

    /** Ends all that was started, and this process with its counts. */
    static void close() {
        STARTED.forEach(Process::destroyForcibly);
        SAYS.println("counts " + passed + " " + failed + " " + skipped);
        System.exit(failed > 0 ? 1 : 0);
    }
}

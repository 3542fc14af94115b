// Dubbo 3: a consumer that calls providers by interface and by application, while they come, end and are killed.

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

public final class DubboPair extends Proofs {
    static final String REDONE = "after a restart of the registry without data all are found by %s again, and who comes too";

    static ApplicationConfig application(String name) {
        ApplicationConfig application = new ApplicationConfig(name);
        application.setQosEnable(false);
        application.setShutwait("100");
        return application;
    }

    /** `mode` says what is registered: interfaces, the application, or all. */
    static RegistryConfig registry(String mode) {
        RegistryConfig registry = new RegistryConfig("nacos://" + System.getenv("SERVER"));
        registry.setRegisterMode(mode);
        return registry;
    }

    /** A reference that knows its providers by one way only. */
    static ReferenceConfig<Greeter> reference(String migration) {
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setLoadbalance("roundrobin");
        reference.setRetries(0);
        reference.setCheck(false);
        reference.setProvidedBy("greetings");
        reference.setParameters(Map.of("migration.step", migration));
        return reference;
    }

    static Set<String> answering(Greeter greeter) {
        Set<String> names = new TreeSet<>();
        for (int call = 0; call < 6; call++) {
            names.add(greeter.greeting());
        }
        return names;
    }

    public static void main(String[] arguments) throws Exception {
        Process first = start(Provider.class, "first");
        Process second = start(Provider.class, "second");
        ReferenceConfig<Greeter> byInterface = reference("FORCE_INTERFACE");
        ReferenceConfig<Greeter> byApplication = reference("FORCE_APPLICATION");
        DubboBootstrap.getInstance().application(application("consumer")).registry(registry("all"))
                .reference(byInterface).reference(byApplication).start();
        Map<String, Greeter> greeters = Map.of("interface", byInterface.get(), "application", byApplication.get());

        each(greeters, "a call by %s is answered by every provider in turn", Set.of("first", "second"));
        first.destroyForcibly();
        each(greeters, "a provider that is killed is called by %s no more", Set.of("second"));
        start(Provider.class, "third");
        each(greeters, "a provider that comes is called by %s too", Set.of("second", "third"));
        second.destroy();
        each(greeters, "a provider that ends is called by %s no more", Set.of("third"));
        if (CONTROL == null || CONTROL.isEmpty()) {
            greeters.keySet().forEach(way -> skips(String.format(REDONE, way), NOT_OURS));
        } else {
            control("empty");
            start(Provider.class, "fourth");
            each(greeters, REDONE, Set.of("third", "fourth"));
        }
        close();
    }

    static void each(Map<String, Greeter> greeters, String sentence, Set<String> names) {
        greeters.forEach((way, greeter) -> holds(String.format(sentence, way), () ->
                until("calls are answered by " + names, REDONE_MS, () -> answering(greeter).equals(names))));
    }
}

// com.alibaba.nacos:nacos-client, any of 1.4 (HTTP v1 with beats and UDP), 2.5 and 3.x (gRPC): the same sentences for each.

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.Listener;
import com.alibaba.nacos.api.naming.NamingMaintainFactory;
import com.alibaba.nacos.api.naming.NamingMaintainService;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.Service;
import java.lang.reflect.InvocationTargetException;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

public final class Check extends Proofs {
    static final boolean HTTP = System.getProperty("sdk").startsWith("1.");
    static final String SERVER = System.getenv("SERVER");
    static final String IP = "10.4.0.1";
    static final String GROUP = "DEFAULT_GROUP";
    static NamingService connect() throws Exception {
        return NacosFactory.createNamingService(properties());
    }

    static Properties properties() {
        Properties properties = new Properties();
        properties.setProperty("serverAddr", SERVER);
        String user = System.getenv("NACOS_USER");
        if (user != null) {
            properties.setProperty("username", user);
            properties.setProperty("password", System.getenv("NACOS_PASSWORD"));
        }
        return properties;
    }

    static Instance instance(int port) {
        Instance instance = new Instance();
        instance.setIp(IP);
        instance.setPort(port);
        return instance;
    }

    static Map<Integer, Instance> byPort(List<Instance> hosts) {
        Map<Integer, Instance> map = new TreeMap<>();
        for (Instance host : hosts) {
            map.put(host.getPort(), host);
        }
        return map;
    }

    static Map<Integer, Instance> listed(NamingService naming, String service) throws Exception {
        return byPort(naming.getAllInstances(service, false));
    }

    public static void main(String[] arguments) throws Exception {
        NamingService provider = connect();
        NamingService consumer = connect();

        holds("the server says that it is up", () -> until("UP", REDONE_MS, () -> "UP".equals(provider.getServerStatus())));

        ConfigService configs = NacosFactory.createConfigService(properties());
        holds("a config that nobody keeps is not found, and is listened to", () -> {
            is("no config", configs.getConfig("nobodys.yaml", GROUP, 5_000) == null);
            configs.addListener("nobodys.yaml", GROUP, new Listener() {
                @Override
                public Executor getExecutor() {
                    return null;
                }

                @Override
                public void receiveConfigInfo(String text) {
                    throw new IllegalStateException("told of " + text);
                }
            });
        });

        holds("an instance that is registered is found with all its values", () -> {
            Instance wanted = instance(4001);
            wanted.setWeight(2.5);
            wanted.addMetadata("zone", "a");
            provider.registerInstance("java-read", wanted);
            Instance host = until("the instance", PUSHED_MS, () -> listed(consumer, "java-read").get(4001));
            is(host, host.getIp().equals(IP) && host.getWeight() == 2.5 && "a".equals(host.getMetadata().get("zone")));
            is(host, host.isHealthy() && host.isEnabled() && host.isEphemeral());
        });

        // It speaks HTTP, which the settings for gRPC's TLS say nothing of.
        if (System.getenv("TLS") == null || System.getenv("TLS").isEmpty()) {
            holds("services and instances can be changed by the client for maintenance", () -> maintain(consumer));
        }

        holds("a healthy instance is selected", () ->
                is("the instance", consumer.selectOneHealthyInstance("java-read", GROUP, false).getPort() == 4001));

        holds("a service without instances is an empty list and no error", () ->
                is("empty", listed(consumer, "java-nobody").isEmpty()));

        holds("the list of services names it", () ->
                is("the name", consumer.getServicesOfServer(1, 100).getData().contains("java-read")));

        AtomicReference<Map<Integer, Instance>> heard = new AtomicReference<>(new TreeMap<>());
        consumer.subscribe("java-push", event -> {
            if (event instanceof NamingEvent) {
                heard.set(byPort(((NamingEvent) event).getInstances()));
            }
        });

        holds("a subscriber is told of a new instance", () -> {
            provider.registerInstance("java-push", instance(4001));
            until("the instance", PUSHED_MS, () -> heard.get().containsKey(4001));
        });

        holds("a subscriber is told of a changed instance", () -> {
            Instance changed = instance(4001);
            changed.addMetadata("colour", "red");
            provider.registerInstance("java-push", changed);
            until("the change", PUSHED_MS, () -> heard.get().containsKey(4001)
                    && "red".equals(heard.get().get(4001).getMetadata().get("colour")));
        });

        holds("a subscriber is told when the last instance is deregistered", () -> {
            provider.deregisterInstance("java-push", IP, 4001);
            until("an empty list", PUSHED_MS, () -> heard.get().isEmpty());
        });

        holds("a persistent instance is registered and deregistered", () -> {
            Instance kept = instance(4002);
            kept.setEphemeral(false);
            provider.registerInstance("java-kept", kept);
            Instance host = until("the instance", PUSHED_MS, () -> listed(consumer, "java-kept").get(4002));
            is(host, !host.isEphemeral());
            provider.deregisterInstance("java-kept", kept);
            until("an empty list", PUSHED_MS, () -> listed(consumer, "java-kept").isEmpty());
        });

        holds("an ephemeral instance of a persistent service is refused", () -> {
            Instance kept = instance(4003);
            kept.setEphemeral(false);
            provider.registerInstance("java-kept", kept);
            // Clients of 2.x and 3.x take a refusal for a sick server and connect anew: not the one that the others need.
            NamingService other = connect();
            try {
                other.registerInstance("java-kept", instance(4004));
            } catch (Exception refused) {
                other.shutDown();
                is(sentenceOf(refused), sentenceOf(refused).contains("persistent service"));
                return;
            }
            is("a refusal", false);
        });

        if (HTTP) {
            holds("beats keep an instance healthy for 35 s", () -> {
                provider.registerInstance("java-alive", instance(4005));
                long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(35);
                while (System.nanoTime() < end) {
                    Instance host = listed(consumer, "java-alive").get(4005);
                    is(host, host != null && host.isHealthy());
                    Thread.sleep(500);
                }
            });
        } else {
            holds("a batch registers all its instances at once, and is the whole set", () -> {
                batch(provider, "java-batch", List.of(instance(4011), instance(4012), instance(4013)));
                until("three", PUSHED_MS, () -> listed(consumer, "java-batch").size() == 3);
                batch(provider, "java-batch", List.of(instance(4012)));
                until("one", PUSHED_MS, () -> listed(consumer, "java-batch").keySet().equals(java.util.Set.of(4012)));
            });
        }

        if (System.getProperty("sdk").startsWith("3.")) {
            Proof proof = (Proof) Class.forName("Fuzzy").getConstructor(NamingService.class, NamingService.class)
                    .newInstance(consumer, provider);
            holds("a fuzzy watch is told which services are there, come and go", proof);
        }

        restarts(provider, consumer, heard);
        close();
    }

    static void restarts(NamingService provider, NamingService consumer, AtomicReference<Map<Integer, Instance>> heard) {
        String redone = "after a restart without data the instances are registered again";
        String told = "after a restart without data the subscription is told of changes again";
        if (CONTROL == null || CONTROL.isEmpty()) {
            skips(redone, NOT_OURS);
            skips(told, NOT_OURS);
            return;
        }
        holds(redone, () -> {
            Instance kept = instance(4006);
            kept.addMetadata("kept", "yes");
            provider.registerInstance("java-redo", kept);
            control("empty");
            Instance host = until("the instance", REDONE_MS, () -> listed(consumer, "java-redo").get(4006));
            is(host, "yes".equals(host.getMetadata().get("kept")));
        });
        holds(told, () -> {
            provider.registerInstance("java-push", instance(4007));
            until("the instance", REDONE_MS, () -> heard.get().containsKey(4007));
        });
    }

    static void maintain(NamingService naming) throws Exception {
        NamingMaintainService maintainer = NamingMaintainFactory.createMaintainService(properties());
        Instance heavy = instance(4001);
        heavy.setWeight(7);
        heavy.addMetadata("zone", "a");
        maintainer.updateInstance("java-read", heavy);
        until("the weight", PUSHED_MS, () -> listed(naming, "java-read").get(4001).getWeight() == 7);
        if (System.getProperty("sdk").startsWith("3.")) {
            return; // it says the type of a selector twice, which the registry refuses as yet
        }
        maintainer.createService("java-made", GROUP, 0.3f);
        maintainer.updateService("java-made", GROUP, 0.7f, Map.of("owner", "us"));
        Service made = maintainer.queryService("java-made");
        is(made, made.getProtectThreshold() == 0.7f && "us".equals(made.getMetadata().get("owner")));
        is("deleted", maintainer.deleteService("java-made"));
    }

    /** 1.x has no such call, so it is looked up. */
    static void batch(NamingService naming, String service, List<Instance> instances) throws Exception {
        try {
            NamingService.class.getMethod("batchRegisterInstance", String.class, String.class, List.class)
                    .invoke(naming, service, GROUP, instances);
        } catch (InvocationTargetException inside) {
            throw inside.getCause() instanceof Exception ? (Exception) inside.getCause() : inside;
        }
    }
}

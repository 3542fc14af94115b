// Spring Cloud Alibaba: a consumer that calls providers by their name only, while they come, end and are killed.

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.web.client.RestTemplate;

@EnableAutoConfiguration
public class SpringPair extends Proofs {
    /** What both sides say; a config that nobody keeps is asked for, as most applications do. */
    static Map<String, Object> settings(String name) {
        return Map.of("spring.application.name", name, "spring.cloud.nacos.server-addr", System.getenv("SERVER"),
                "spring.config.import", "optional:nacos:" + name + ".yaml", "logging.level.root", "warn",
                "spring.main.banner-mode", "off");
    }

    @Bean
    @LoadBalanced
    RestTemplate caller() {
        return new RestTemplate();
    }

    /** Who answers to the name: as many calls as reach everybody in turn. */
    static Set<String> answering(RestTemplate caller) {
        Set<String> names = new TreeSet<>();
        for (int call = 0; call < 6; call++) {
            names.add(caller.getForObject("http://greetings/greeting", String.class));
        }
        return names;
    }

    static void answers(RestTemplate caller, String... names) throws Exception {
        until("calls are answered by " + Set.of(names), REDONE_MS, () -> answering(caller).equals(Set.of(names)));
    }

    public static void main(String[] arguments) throws Exception {
        Process first = start(Provider.class, "first");
        Process second = start(Provider.class, "second");
        // Its own cache of 35 s is left out, so that what it is told is what it calls.
        ConfigurableApplicationContext context = new SpringApplicationBuilder(SpringPair.class).web(WebApplicationType.NONE)
                .properties(settings("consumer")).properties(Map.of("spring.cloud.loadbalancer.cache.enabled", "false",
                        "spring.cloud.nacos.discovery.register-enabled", "false")).run();
        RestTemplate caller = context.getBean(RestTemplate.class);
        DiscoveryClient discovery = context.getBean(DiscoveryClient.class);

        holds("an application whose config nobody keeps starts", () -> is("active", context.isActive()));
        holds("a call by name is answered by every provider in turn", () -> answers(caller, "first", "second"));
        holds("the services and their instances with metadata are found", () -> {
            is(discovery.getServices(), discovery.getServices().contains("greetings"));
            Set<String> names = discovery.getInstances("greetings").stream().map(found -> found.getMetadata().get("name"))
                    .collect(Collectors.toSet());
            is(names, names.equals(Set.of("first", "second")));
        });
        holds("a provider that is killed is called no more", () -> {
            first.destroyForcibly();
            answers(caller, "second");
        });
        holds("a provider that comes is called too", () -> {
            start(Provider.class, "third");
            answers(caller, "second", "third");
        });
        holds("a provider that ends takes itself off the list", () -> {
            second.destroy();
            answers(caller, "third");
        });
        String redone = "after a restart of the registry without data the pair finds each other again";
        if (CONTROL == null || CONTROL.isEmpty()) {
            skips(redone, NOT_OURS);
        } else {
            holds(redone, () -> {
                control("empty");
                until("the provider is registered again", REDONE_MS, () -> discovery.getServices().contains("greetings"));
                answers(caller, "third");
            });
        }
        close();
    }
}

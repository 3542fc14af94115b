// A Spring Boot application that registers itself as `greetings` and answers with its own name.

import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@EnableAutoConfiguration
@RestController
public class Provider {
    @Value("${spring.cloud.nacos.discovery.metadata.name}")
    String name;

    @GetMapping("/greeting")
    String greeting() {
        return name;
    }

    public static void main(String[] arguments) {
        new SpringApplicationBuilder(Provider.class).properties(SpringPair.settings("greetings")).properties(Map.of(
                "server.address", "127.0.0.1", "server.port", "0", "spring.cloud.nacos.discovery.ip", "127.0.0.1",
                "spring.cloud.nacos.discovery.metadata.name", arguments[0])).run();
    }
}

// Nacos's own server modules as one process: what its console module does at start, without the console.

import com.alibaba.nacos.core.code.ControllerMethodsCache;
import javax.annotation.PostConstruct;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.servlet.ServletComponentScan;
import org.springframework.scheduling.annotation.EnableScheduling;

@SpringBootApplication(scanBasePackages = "com.alibaba.nacos")
@ServletComponentScan(basePackages = "com.alibaba.nacos")
@EnableScheduling
public class Nacos {
    @Autowired
    private ControllerMethodsCache methods;

    @PostConstruct
    public void init() {
        for (String pack : new String[] {"naming.controllers", "core.controller", "config.server.controller"}) {
            methods.initClassMethod("com.alibaba.nacos." + pack);
        }
    }

    public static void main(String[] args) {
        SpringApplication.run(Nacos.class, args);
    }
}

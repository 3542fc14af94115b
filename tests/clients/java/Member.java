// Registers one service and subscribes to another at several servers, and prints the ports of every list that it is told.

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;

public final class Member {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("serverAddr", System.getenv("SERVERS"));
        NamingService naming = NacosFactory.createNamingService(properties);
        naming.subscribe(arguments[2], event -> {
            String ports = ((NamingEvent) event).getInstances().stream().map(Instance::getPort).sorted()
                    .map(String::valueOf).collect(Collectors.joining(" "));
            System.out.println("told " + ports);
        });
        Instance own = new Instance();
        own.setIp("10.6.0.1");
        own.setPort(Integer.parseInt(arguments[1]));
        for (String time : System.getenv("LEASE").split(",")) {
            own.addMetadata(time.split("=")[0], time.split("=")[1]);
        }
        naming.registerInstance(arguments[0], own);
        System.out.println("registered");
        new CountDownLatch(1).await();
    }
}

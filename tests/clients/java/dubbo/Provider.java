// A Dubbo application that offers Greeter under its interface and under its application, and answers with its own name.

import java.io.IOException;
import java.net.ServerSocket;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

public final class Provider {
    public static void main(String[] arguments) throws IOException {
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(() -> arguments[0]);
        ProtocolConfig protocol = new ProtocolConfig("dubbo", freePort());
        protocol.setHost("127.0.0.1");
        DubboBootstrap.getInstance().application(DubboPair.application("greetings")).registry(DubboPair.registry("all"))
                .protocol(protocol).service(service).start().await();
    }

    /** Dubbo counts up from 20880 by itself, and two that begin at once take the same. */
    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }
}

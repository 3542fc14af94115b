// What only 3.x can do: hear which services come and go.

import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.AbstractFuzzyWatchEventWatcher;
import com.alibaba.nacos.api.naming.listener.FuzzyWatchChangeEvent;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;

public final class Fuzzy implements Proofs.Proof {
    private final NamingService consumer;
    private final NamingService provider;

    public Fuzzy(NamingService consumer, NamingService provider) {
        this.consumer = consumer;
        this.provider = provider;
    }

    @Override
    public void prove() throws Exception {
        Set<String> there = ConcurrentHashMap.newKeySet();
        provider.registerInstance("java-fuzzy-before", "watched", Check.instance(4021));
        consumer.fuzzyWatch("java-fuzzy-*", "watched", new AbstractFuzzyWatchEventWatcher() {
            @Override
            public void onEvent(FuzzyWatchChangeEvent event) {
                if ("ADD_SERVICE".equals(event.getChangeType())) {
                    there.add(event.getServiceName());
                } else if ("DELETE_SERVICE".equals(event.getChangeType())) {
                    there.remove(event.getServiceName());
                }
            }

            @Override
            public Executor getExecutor() {
                return null;
            }
        });
        Proofs.until("the service that was there", Proofs.PUSHED_MS, () -> there.contains("java-fuzzy-before"));
        provider.registerInstance("java-fuzzy-later", "watched", Check.instance(4022));
        Proofs.until("the service that came", Proofs.PUSHED_MS, () -> there.contains("java-fuzzy-later"));
        Proofs.is(there, there.size() == 2);
    }
}

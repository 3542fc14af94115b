// github.com/nacos-group/nacos-sdk-go: v2 over gRPC, v1 over HTTP with beats and UDP (its import paths lack the /v2). The same
// sentences for both.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

const (
	ip = "10.5.0.1"
	// A push takes milliseconds; a busy machine takes its time.
	pushed = 30 * time.Second
	redone = 60 * time.Second
)

var (
	sdk                     = "go " + os.Getenv("SDK") + os.Getenv("HOW")
	control                 = os.Getenv("SERVER_CONTROL")
	passed, failed, skipped int
)

func holds(sentence string, proof func() error) {
	if why := proof(); why != nil {
		failed++
		fmt.Printf("%s: %s ... FAILED\n    %s\n", sdk, sentence, strings.ReplaceAll(why.Error(), "\n", " "))
		return
	}
	passed++
	fmt.Printf("%s: %s ... ok\n", sdk, sentence)
}

func until(what string, limit time.Duration, ask func() bool) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ask() {
			return nil
		}
	}
	return fmt.Errorf("not within %s: %s", limit, what)
}

func settings(name string) vo.NacosClientParam {
	host, port, _ := strings.Cut(os.Getenv("SERVER"), ":")
	number, err := strconv.ParseUint(port, 10, 64)
	if err != nil {
		panic(err)
	}
	folder := filepath.Join(os.Getenv("HOME"), name)
	scheme := "http"
	if os.Getenv("TLS") != "" {
		scheme = "https"
	}
	options := []constant.ClientOption{constant.WithLogDir(folder), constant.WithCacheDir(folder),
		constant.WithNotLoadCacheAtStart(true), constant.WithUpdateCacheWhenEmpty(true), constant.WithLogLevel("error"),
		constant.WithUsername(os.Getenv("NACOS_USER")), constant.WithPassword(os.Getenv("NACOS_PASSWORD"))}
	return vo.NacosClientParam{
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig(host, number, constant.WithScheme(scheme))},
		ClientConfig:  constant.NewClientConfig(append(options, certificates()...)...),
	}
}

func connect(name string) naming_client.INamingClient {
	client, err := clients.NewNamingClient(settings(name))
	if err != nil {
		panic(err)
	}
	return client
}

func register(client naming_client.INamingClient, service string, port uint64, metadata map[string]string) error {
	done, err := client.RegisterInstance(vo.RegisterInstanceParam{ServiceName: service, Ip: ip, Port: port, Weight: 2.5,
		Enable: true, Healthy: true, Ephemeral: true, Metadata: metadata})
	if err == nil && !done {
		err = errors.New("not registered")
	}
	return err
}

func deregister(client naming_client.INamingClient, service string, port uint64) error {
	_, err := client.DeregisterInstance(vo.DeregisterInstanceParam{ServiceName: service, Ip: ip, Port: port, Ephemeral: true})
	return err
}

// What a service has now, by port; the SDK answers from its own memory, so each question is a new client's or a subscriber's.
func listed(client naming_client.INamingClient, service string) map[uint64]model.Instance {
	hosts, _ := client.SelectAllInstances(vo.SelectAllInstancesParam{ServiceName: service})
	all := map[uint64]model.Instance{}
	for _, host := range hosts {
		all[host.Port] = host
	}
	return all
}

type heard struct {
	sync.Mutex
	ports map[uint64]map[string]string
}

func (h *heard) is(ask func(map[uint64]map[string]string) bool) func() bool {
	return func() bool {
		h.Lock()
		defer h.Unlock()
		return h.ports != nil && ask(h.ports)
	}
}

func main() {
	if len(os.Args) == 4 {
		member(os.Args[1], os.Args[2], os.Args[3])
	}
	provider, consumer := connect("provider"), connect("consumer")

	configs, err := clients.NewConfigClient(settings("configs"))
	if err != nil {
		panic(err)
	}
	holds("a config that nobody keeps is not found, and is listened to", func() error {
		nobodys := vo.ConfigParam{DataId: "nobodys.yaml", Group: "DEFAULT_GROUP",
			OnChange: func(_, _, _, text string) { panic("told of " + text) }}
		text, err := configs.GetConfig(nobodys)
		if text != "" || err != nil && !strings.Contains(err.Error(), "not exist") {
			return fmt.Errorf("%q, %v", text, err)
		}
		return configs.ListenConfig(nobodys)
	})
	holds("an instance that is registered is found with all its values", func() error {
		if err := register(provider, "go-read", 5001, map[string]string{"zone": "a"}); err != nil {
			return err
		}
		return until("the instance", pushed, func() bool {
			host, there := listed(consumer, "go-read")[5001]
			return there && host.Ip == ip && host.Weight == 2.5 && host.Metadata["zone"] == "a" && host.Healthy && host.Enable
		})
	})
	holds("a healthy instance is selected", func() error {
		host, err := consumer.SelectOneHealthyInstance(vo.SelectOneHealthInstanceParam{ServiceName: "go-read"})
		if err == nil && host.Port != 5001 {
			err = fmt.Errorf("%v", host)
		}
		return err
	})
	holds("the list of services names it", func() error {
		list, err := consumer.GetAllServicesInfo(vo.GetAllServiceInfoParam{PageNo: 1, PageSize: 100})
		if err == nil && !strings.Contains(strings.Join(list.Doms, " "), "go-read") {
			err = fmt.Errorf("%v", list)
		}
		return err
	})

	holds("a persistent instance is registered and deregistered", func() error {
		if _, err := provider.RegisterInstance(vo.RegisterInstanceParam{ServiceName: "go-kept", Ip: ip, Port: 5004, Weight: 1,
			Enable: true, Healthy: true, Ephemeral: false}); err != nil {
			return err
		}
		kept := func() bool {
			host, there := listed(connect("kept"), "go-kept")[5004]
			return there && !host.Ephemeral
		}
		if err := until("the instance", pushed, kept); err != nil {
			return err
		}
		if _, err := provider.DeregisterInstance(vo.DeregisterInstanceParam{ServiceName: "go-kept", Ip: ip, Port: 5004,
			Ephemeral: false}); err != nil {
			return err
		}
		return until("an empty list", pushed, func() bool { return len(listed(connect("kept"), "go-kept")) == 0 })
	})

	batches(provider)

	told := &heard{}
	keep := func(ports map[uint64]map[string]string) {
		told.Lock()
		defer told.Unlock()
		told.ports = ports
	}
	if err := register(provider, "go-push", 5001, nil); err != nil {
		panic(err)
	}
	if err := consumer.Subscribe(&vo.SubscribeParam{ServiceName: "go-push", SubscribeCallback: callback(keep)}); err != nil {
		panic(err)
	}
	other := connect("other")
	holds("a subscriber is told of a new instance", func() error {
		if err := register(other, "go-push", 5002, map[string]string{"colour": "red"}); err != nil {
			return err
		}
		return until("the instance", pushed, told.is(func(ports map[uint64]map[string]string) bool {
			return ports[5002]["colour"] == "red" && len(ports) == 2
		}))
	})
	holds("a subscriber is told of an instance that is removed", func() error {
		if err := deregister(other, "go-push", 5002); err != nil {
			return err
		}
		return until("one instance", pushed, told.is(func(ports map[uint64]map[string]string) bool {
			_, there := ports[5001]
			return there && len(ports) == 1
		}))
	})

	again := "after a restart without data the instances are registered again, and the subscription is told"
	if control == "" {
		skipped++
		fmt.Printf("%s: %s ... skipped: the server is not ours to restart\n", sdk, again)
	} else {
		holds(again, func() error {
			if err := exec.Command(control, "empty").Run(); err != nil {
				return err
			}
			if err := until("a registration", redone, func() bool { return register(other, "go-push", 5003, nil) == nil }); err != nil {
				return err
			}
			return until("both instances", redone, told.is(func(ports map[uint64]map[string]string) bool {
				_, old := ports[5001]
				_, young := ports[5003]
				return old && young
			}))
		})
	}
	fmt.Printf("counts %d %d %d\n", passed, failed, skipped)
	if failed > 0 {
		os.Exit(1)
	}
}

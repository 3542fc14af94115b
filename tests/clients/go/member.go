package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

// Registers one service and subscribes to another at several servers, and prints the ports of every list that it is told.
func member(own, port, watched string) {
	servers := []constant.ServerConfig{}
	for _, address := range strings.Split(os.Getenv("SERVERS"), ",") {
		host, text, _ := strings.Cut(address, ":")
		number, _ := strconv.ParseUint(text, 10, 64)
		servers = append(servers, *constant.NewServerConfig(host, number))
	}
	folder := filepath.Join(os.Getenv("HOME"), "member")
	client, err := clients.NewNamingClient(vo.NacosClientParam{
		ServerConfigs: servers,
		ClientConfig: constant.NewClientConfig(constant.WithLogDir(folder), constant.WithCacheDir(folder),
			constant.WithNotLoadCacheAtStart(true), constant.WithUpdateCacheWhenEmpty(true), constant.WithLogLevel("error")),
	})
	if err != nil {
		panic(err)
	}
	keep := func(hosts map[uint64]map[string]string) {
		ports := []int{}
		for port := range hosts {
			ports = append(ports, int(port))
		}
		sort.Ints(ports)
		fmt.Println("told", strings.Trim(fmt.Sprint(ports), "[]"))
	}
	if err := client.Subscribe(&vo.SubscribeParam{ServiceName: watched, SubscribeCallback: callback(keep)}); err != nil {
		panic(err)
	}
	number, _ := strconv.ParseUint(port, 10, 64)
	lease := map[string]string{}
	for _, time := range strings.Split(os.Getenv("LEASE"), ",") {
		name, value, _ := strings.Cut(time, "=")
		lease[name] = value
	}
	if err := register(client, own, number, lease); err != nil {
		panic(err)
	}
	fmt.Println("registered")
	select {}
}

package main

import (
	"fmt"
	"os"

	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

func callback(keep func(map[uint64]map[string]string)) func([]model.Instance, error) {
	return func(hosts []model.Instance, _ error) {
		ports := map[uint64]map[string]string{}
		for _, host := range hosts {
			ports[host.Port] = host.Metadata
		}
		keep(ports)
	}
}

// What a registry is shown that speaks TLS only.
func certificates() []constant.ClientOption {
	folder := os.Getenv("TLS")
	if folder == "" {
		return nil
	}
	return []constant.ClientOption{constant.WithTLS(constant.TLSConfig{Appointed: true, Enable: true, CaFile: folder + "/ca.pem",
		CertFile: folder + "/client.pem", KeyFile: folder + "/client.key"})}
}

func batches(client naming_client.INamingClient) {
	holds("a batch registers all its instances at once, and is the whole set", func() error {
		for _, ports := range [][]uint64{{5011, 5012, 5013}, {5012}} {
			instances := []vo.RegisterInstanceParam{}
			for _, port := range ports {
				instances = append(instances, vo.RegisterInstanceParam{Ip: ip, Port: port, Weight: 1, Enable: true, Healthy: true,
					Ephemeral: true})
			}
			done, err := client.BatchRegisterInstance(vo.BatchRegisterInstanceParam{ServiceName: "go-batch", Instances: instances})
			if err != nil || !done {
				return fmt.Errorf("%v, %v", done, err)
			}
			all := func() bool {
				got := listed(connect("batch"), "go-batch")
				_, there := got[5012]
				return there && len(got) == len(ports)
			}
			if err := until("the batch", pushed, all); err != nil {
				return err
			}
		}
		return nil
	})
}

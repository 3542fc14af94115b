package main

import "github.com/nacos-group/nacos-sdk-go/v2/model"

func callback(keep func(map[uint64]map[string]string)) func([]model.Instance, error) {
	return func(hosts []model.Instance, _ error) {
		ports := map[uint64]map[string]string{}
		for _, host := range hosts {
			ports[host.Port] = host.Metadata
		}
		keep(ports)
	}
}

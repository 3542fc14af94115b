package main

import "github.com/nacos-group/nacos-sdk-go/model"

func callback(keep func(map[uint64]map[string]string)) func([]model.SubscribeService, error) {
	return func(hosts []model.SubscribeService, _ error) {
		ports := map[uint64]map[string]string{}
		for _, host := range hosts {
			ports[host.Port] = host.Metadata
		}
		keep(ports)
	}
}

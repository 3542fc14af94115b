package main

import (
	"github.com/nacos-group/nacos-sdk-go/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/common/constant"
	"github.com/nacos-group/nacos-sdk-go/model"
)

func callback(keep func(map[uint64]map[string]string)) func([]model.SubscribeService, error) {
	return func(hosts []model.SubscribeService, _ error) {
		ports := map[uint64]map[string]string{}
		for _, host := range hosts {
			ports[host.Port] = host.Metadata
		}
		keep(ports)
	}
}

// Version 1 has no setting for certificates.
func certificates() []constant.ClientOption { return nil }

// Version 1 registers one by one.
func batches(naming_client.INamingClient) {}

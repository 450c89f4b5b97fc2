package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocibuild/ocibuild/cache"
)

// proxyConfig is what docker's config.json says of the proxies of one daemon.
type proxyConfig struct {
	HTTP  string `json:"httpProxy"`
	HTTPS string `json:"httpsProxy"`
	FTP   string `json:"ftpProxy"`
	No    string `json:"noProxy"`
	All   string `json:"allProxy"`
}

// defaultDaemon is where docker's client looks for one.
const defaultDaemon = "unix:///var/run/docker.sock"

// addProxies gives RUN the proxies of docker's config.json, as docker does: as
// build arguments, in both cases, unless the user gave them. These never end
// up in the image and do not affect the cache key.
func addProxies(args map[string]string) {
	path := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	if os.Getenv("DOCKER_CONFIG") == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return // then there is none
		}
		path = filepath.Join(home, ".docker", "config.json")
	}
	data, err := cache.ReadRegular(path)
	var config struct {
		Proxies map[string]proxyConfig `json:"proxies"`
	}
	if err != nil || json.Unmarshal(data, &config) != nil {
		return // who looks for credentials there says what is wrong
	}
	p, ok := config.Proxies[cmp.Or(os.Getenv("DOCKER_HOST"), defaultDaemon)]
	if !ok {
		p = config.Proxies["default"]
	}
	for name, value := range map[string]string{
		"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "FTP_PROXY": p.FTP, "NO_PROXY": p.No, "ALL_PROXY": p.All,
	} {
		for _, n := range []string{name, strings.ToLower(name)} {
			if _, given := args[n]; !given && value != "" {
				args[n] = value
			}
		}
	}
}

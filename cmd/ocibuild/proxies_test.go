package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestD2ProxiesOfTheDockerConfiguration(t *testing.T) {
	const config = `{"proxies": {
		"default": {"httpProxy": "http://p:1", "noProxy": "localhost"},
		"tcp://other:2375": {"httpsProxy": "http://q:2"}}}`
	for name, tt := range map[string]struct {
		host        string
		args, wants map[string]string
	}{
		"default": {"", map[string]string{"A": "b"}, map[string]string{
			"A": "b", "HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1", "NO_PROXY": "localhost", "no_proxy": "localhost"}},
		"of the daemon": {"tcp://other:2375", nil, map[string]string{"HTTPS_PROXY": "http://q:2", "https_proxy": "http://q:2"}},
		"given": {"tcp://other:2375", map[string]string{"https_proxy": ""}, map[string]string{
			"HTTPS_PROXY": "http://q:2", "https_proxy": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("DOCKER_CONFIG", dir)
			t.Setenv("DOCKER_HOST", tt.host)
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			args := map[string]string{}
			for k, v := range tt.args {
				args[k] = v
			}
			addProxies(args)
			if diff := cmp.Diff(tt.wants, args); diff != "" {
				t.Error(diff)
			}
		})
	}
}

//go:build linux

package threats

import (
	"crypto/ed25519"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/ocibuild/ocibuild/builder"
)

func TestX10AgentsAreUsedAndNotChanged(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	keys := agent.NewKeyring()
	must(t, keys.Add(agent.AddedKey{PrivateKey: key, Comment: "mine"}))
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(keys, conn) // until it hangs up
				conn.Close()
			}()
		}
	}()
	p.change = func(o *builder.Options) { o.SSH = []builder.SSH{{Paths: []string{socket}}} }
	p.accepted("FROM " + base + "\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && test $(stat -c %a \"$SSH_AUTH_SOCK\") = 600 && attack agent\nRUN test -z \"$SSH_AUTH_SOCK\" && ! ls -d /run/buildkit/* 2>/dev/null\n")
	if left, err := keys.List(); err != nil || len(left) != 1 {
		t.Errorf("the agent has %v, %v", left, err)
	}
}

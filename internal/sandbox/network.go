package sandbox

import (
	"cmp"
	"fmt"
	"os"
)

// defaultHostname is constant, for steps that write it down.
const defaultHostname = "ocibuild"

// ResolvConf is what a command finds in /etc/resolv.conf when it shares the
// network of this machine: the machine's own, nil if it has none so that the
// image's counts.
func ResolvConf() []byte {
	data, _ := os.ReadFile("/etc/resolv.conf")
	return data
}

// HostsFile is what a command finds in /etc/hosts: the same on every machine,
// with the command's own host name ("" is the default one), which programs like
// sudo look up.
func HostsFile(hostname string) []byte {
	return fmt.Appendf(nil, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", cmp.Or(hostname, defaultHostname))
}

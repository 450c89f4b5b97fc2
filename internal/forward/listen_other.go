//go:build !linux

package forward

import "net"

func listen(_, path string) (*net.UnixListener, error) { return bind(path) }

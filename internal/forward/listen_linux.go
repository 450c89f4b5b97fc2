package forward

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// listen names the directory by its handle, since the name of a socket holds no
// more than 107 bytes.
func listen(dir, path string) (*net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return bind(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)))
}

package cache

import "os"

// private makes the directory of a store. Who may enter it is the business of
// the directory above, from which permissions are inherited.
func private(path string) error { return os.MkdirAll(path, 0o700) }

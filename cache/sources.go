package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Kinds of sources that keep something of their own in the store.
const (
	SourceGit  = "git"  // bare repositories, by remote
	SourceHTTP = "http" // what is known of a URL's file: small records
)

// SourcePath names the file or directory that a kind of source keeps under a
// name; the directory above it is made.
func (d *Dir) SourcePath(kind, name string) (string, error) {
	if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." {
		return "", fmt.Errorf("%q is no name for a file of the store", name)
	}
	if err := os.MkdirAll(d.sub(kind), 0o700); err != nil {
		return "", err
	}
	return d.sub(kind, name), nil
}

// ReadSource returns a small record of a source, or nil if there is none.
func (d *Dir) ReadSource(kind, name string) ([]byte, error) {
	p, err := d.SourcePath(kind, name)
	if err != nil {
		return nil, err
	}
	data, err := d.readFile(kind+" record "+name, p)
	if _, damaged := errors.AsType[*DamagedError](err); damaged || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// WriteSource keeps a small record of a source; a reader sees the old one or
// the new one.
func (d *Dir) WriteSource(kind, name string, data []byte) error {
	p, err := d.SourcePath(kind, name)
	if err != nil {
		return err
	}
	return d.replace(p, data)
}

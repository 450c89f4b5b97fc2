package tree

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// defaultACL is the attribute of a directory whose access control list the kernel
// gives to everything that is created in it.
const defaultACL = "system.posix_acl_default"

// describeDir gives an open directory its metadata, but for the access control list
// that what is still to be unpacked in it would inherit.
func (a *applier) describeDir(fd int, name string, m *meta) error {
	delete(a.acls, name)
	acl, ok := m.xattrs[defaultACL]
	if ok {
		a.acls[name] = acl
		now := *m
		now.xattrs = maps.Clone(m.xattrs)
		delete(now.xattrs, defaultACL)
		m = &now
	}
	return m.applyFd(fd, a.o.Form)
}

// setACLs sets what describeDir has left out.
func (a *applier) setACLs() error {
	for _, name := range slices.Sorted(maps.Keys(a.acls)) {
		if err := a.setACL(name, a.acls[name]); err != nil {
			return fmt.Errorf("unpack %q: %w", name, err)
		}
	}
	return nil
}

func (a *applier) setACL(name, acl string) error {
	parent, err := a.dirs.open(path.Dir(name))
	if err != nil {
		return nil // the directory was replaced by a later entry
	}
	defer parent.release()
	fd, err := openDir(parent.fd, path.Base(name))
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil // likewise
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	return xattrError(defaultACL, unix.Fsetxattr(fd, defaultACL, []byte(acl), 0), a.o.Form)
}

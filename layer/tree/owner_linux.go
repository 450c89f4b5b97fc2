package tree

import (
	"fmt"

	"github.com/ocibuild/ocibuild/internal/owner"
	"github.com/ocibuild/ocibuild/layer"
)

// own gives the file at path to its owner: by chown, or as an attribute where
// that is the form.
func (m *meta) own(f Form, path string, follow bool, chown func() error) error {
	if f != Owned {
		if err := chown(); err != nil {
			return m.ownerError(err)
		}
		return nil
	}
	o := m.device
	o.UID, o.GID = uint32(m.uid), uint32(m.gid)
	if err := owner.Set(path, follow, o); err != nil {
		return fmt.Errorf("the file system of the store has to keep attributes: %w", err)
	}
	return nil
}

// deviceOf is what the owner's attribute says of a device.
func deviceOf(e *layer.Entry) owner.Owner {
	o := owner.Owner{Major: uint32(e.Devmajor), Minor: uint32(e.Devminor)}
	switch e.Type {
	case layer.Char:
		o.Device = 'c'
	case layer.Block:
		o.Device = 'b'
	default:
		return owner.Owner{}
	}
	return o
}

// readOwner fills in what the owner's attribute says of a file.
func readOwner(path string, e *layer.Entry) error {
	o, err := owner.Get(path, false)
	if err != nil || o == (owner.Owner{}) {
		return err
	}
	e.UID, e.GID = int(o.UID), int(o.GID)
	switch o.Device {
	case 'c':
		e.Type = layer.Char
	case 'b':
		e.Type = layer.Block
	default:
		return nil
	}
	e.Size, e.Devmajor, e.Devminor = 0, int64(o.Major), int64(o.Minor)
	return nil
}

func isOwner(capability []byte) bool {
	_, ok := owner.ParseCapability(capability)
	return ok
}

package plan

import (
	"io/fs"

	"github.com/ocibuild/ocibuild/layer"
)

func toFileMode(e layer.Entry) fs.FileMode {
	m := fs.FileMode(e.Mode & 0o777)
	for bit, to := range specialBits {
		if e.Mode&bit != 0 {
			m |= to
		}
	}
	if e.Type == layer.Directory {
		m |= fs.ModeDir
	}
	return m
}

func fromFileMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for bit, from := range specialBits {
		if m&from != 0 {
			out |= bit
		}
	}
	return out
}

var specialBits = map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky}

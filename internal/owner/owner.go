// Package owner keeps what a file cannot have in a user namespace with a single
// id: an owner other than that one, and the number of a device. Both stand in
// an extended attribute of the file itself, and so they survive whatever happens
// to it: a new name, a second one, and overlayfs copying it up.
//
// A regular file or a directory carries [Attr], a text. Linux keeps attributes
// of users away from everything else (symbolic links, pipes, sockets), but not
// file capabilities, though they mean nothing there: such files carry theirs in
// security.capability, of which 128 bits are free. Root of a user namespace may
// set both. A device is an empty regular file whose attribute says which one.
//
// A file without an attribute belongs to 0:0. Writing the attribute is worth as
// much as changing the owner, so it is believed only where every process could
// do that anyway: in the trees and steps of isolation userns-single.
package owner

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// The attributes, and the beginning of every name of a user's one that is ours.
const (
	Prefix     = "user.ocibuild."
	Attr       = Prefix + "owner"
	Capability = "security.capability"
)

// Owner is who a file belongs to. The zero value is what a file without an
// attribute has.
type Owner struct {
	UID, GID uint32
	// Device is 'c' or 'b' for a device that could not be made, else zero.
	Device       byte
	Major, Minor uint32
}

// String is the text of the attribute: "UID:GID" or "UID:GID:c:MAJOR:MINOR".
func (o Owner) String() string {
	s := fmt.Sprintf("%d:%d", o.UID, o.GID)
	if o.Device != 0 {
		s += fmt.Sprintf(":%c:%d:%d", o.Device, o.Major, o.Minor)
	}
	return s
}

// Parse reads that text; false tells that it is none.
func Parse(text string) (Owner, bool) {
	f := strings.Split(text, ":")
	if len(f) != 2 && len(f) != 5 {
		return Owner{}, false
	}
	var o Owner
	numbers := []*uint32{&o.UID, &o.GID}
	if len(f) == 5 {
		if f[2] != "c" && f[2] != "b" {
			return Owner{}, false
		}
		o.Device = f[2][0]
		numbers = append(numbers, &o.Major, &o.Minor)
		f = append(f[:2], f[3:]...)
	}
	for i, n := range numbers {
		v, err := strconv.ParseUint(f[i], 10, 32)
		if err != nil {
			return Owner{}, false
		}
		*n = uint32(v)
	}
	return o, true
}

// struct vfs_cap_data, as linux/capability.h has it: what kind it is, and two
// pairs of permitted and inheritable capabilities.
const (
	revision2 = 0x02000000 // the kernel makes it revision 3 inside a user namespace, and back
	size2     = 20
	size3     = 24

	// mark stands in the second permitted word, where the capabilities from 32
	// on are: far more of them than there are.
	mark = 0xfc62696f
)

// EncodeCapability is the attribute of a file that can have no other.
func (o Owner) EncodeCapability() []byte {
	b := make([]byte, size2)
	for i, v := range []uint32{revision2, o.UID, o.GID, mark, 0} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	return b
}

// ParseCapability reads that attribute; false tells that it is a real one.
func ParseCapability(b []byte) (Owner, bool) {
	if len(b) != size2 && len(b) != size3 || binary.LittleEndian.Uint32(b[12:]) != mark {
		return Owner{}, false
	}
	return Owner{UID: binary.LittleEndian.Uint32(b[4:]), GID: binary.LittleEndian.Uint32(b[8:])}, true
}

package layer

import (
	"cmp"
	"fmt"
	"strings"
)

// Bounds of what a layer may claim, unless the caller says otherwise.
const (
	DefaultMaxBytes   = 64 << 30
	DefaultMaxEntries = 4_000_000
	DefaultMaxHeader  = 1 << 20
	DefaultMaxName    = maxName
	DefaultMaxDepth   = maxName/2 + 1 // as deep as a name can lead
)

// Limits bounds what the tar of a stranger may claim, be it a layer or an
// archive. A zero means the default of that name.
type Limits struct {
	MaxBytes   int64 // of the uncompressed tar
	MaxEntries int
	MaxHeader  int64 // bytes of all headers of one entry: its name, link and attributes
	MaxName    int   // bytes of a name, of which no system takes more than the default
	MaxDepth   int   // parts of a name
}

// OrDefault returns the limits with every zero replaced.
func (l Limits) OrDefault() Limits {
	return Limits{
		MaxBytes: cmp.Or(l.MaxBytes, DefaultMaxBytes), MaxEntries: cmp.Or(l.MaxEntries, DefaultMaxEntries),
		MaxHeader: cmp.Or(l.MaxHeader, DefaultMaxHeader), MaxName: cmp.Or(l.MaxName, DefaultMaxName),
		MaxDepth: cmp.Or(l.MaxDepth, DefaultMaxDepth),
	}
}

// Check tells why no layer within these limits can hold the entry.
func (l Limits) Check(e Entry) error {
	l = l.OrDefault()
	if len(e.Name) > l.MaxName {
		return fmt.Errorf("name too long: more than %d bytes", l.MaxName)
	}
	if depth := strings.Count(e.Name, "/") + 1; depth > l.MaxDepth {
		return fmt.Errorf("name too deep: %d parts, more than %d", depth, l.MaxDepth)
	}
	return checkEntry(&e)
}

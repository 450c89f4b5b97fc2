package layer

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// records are the encoded entries of a table of contents, in parts of which none
// is ever copied to grow: a layer may have a million. An offset says where a record
// is in all parts together; a record lies in one part.
type records struct {
	parts [][]byte
}

const (
	partBits = 22 // more than the pax records of an entry take
	partSize = 1 << partBits
)

// recordsOf are the records that write wrote.
func recordsOf(data []byte) records {
	var r records
	for start := 0; start < len(data); start += partSize {
		r.parts = append(r.parts, data[start:])
	}
	return r
}

// at returns a record, and whatever follows it.
func (r *records) at(off uint32) []byte { return r.parts[off>>partBits][off&(partSize-1):] }

// size is how many bytes there are, with those between parts.
func (r *records) size() int {
	if len(r.parts) == 0 {
		return 0
	}
	last := len(r.parts) - 1
	return last<<partBits + len(r.parts[last])
}

// add appends a record and returns where it is.
func (r *records) add(e *Entry, flags byte) (uint32, error) {
	if len(r.parts) == 0 {
		r.parts = append(r.parts, nil)
	}
	last := len(r.parts) - 1
	part := r.parts[last]
	longer := appendRecord(part, e, flags)
	if len(longer) > partSize {
		record := longer[len(part):]
		if len(record) > partSize {
			return 0, fmt.Errorf("%s: its names and attributes are too long for a table of contents", quoteName(e.Name))
		}
		r.parts, last, part = append(r.parts, nil), last+1, nil
		longer = append(make([]byte, 0, partSize), record...)
	}
	r.parts[last] = longer
	off := int64(last)<<partBits + int64(len(part))
	if off > math.MaxUint32/2 {
		return 0, errors.New("too many names for a table of contents")
	}
	return uint32(off), nil
}

// write writes the parts, with zeros between them.
func (r *records) write(w io.Writer) error {
	for i, p := range r.parts {
		p = p[:min(len(p), partSize)]
		if _, err := w.Write(p); err != nil {
			return err
		}
		if i == len(r.parts)-1 {
			break
		}
		if _, err := w.Write(make([]byte, partSize-len(p))); err != nil {
			return err
		}
	}
	return nil
}

package tree

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Content reads a regular file from its start. Where the file has a hole, nothing is
// read: zeros that nobody has written need no disk, no page cache and no copy.
func Content(f *os.File, st *unix.Stat_t) io.Reader {
	if st.Blocks*512 >= st.Size {
		return f
	}
	return &sparseReader{f: f, size: st.Size}
}

// sparseReader knows in which piece of the file it is: data, or a hole.
type sparseReader struct {
	f       *os.File
	size    int64
	at, end int64 // of the piece
	hole    bool
	plain   bool // the file system does not tell
}

func (r *sparseReader) Read(p []byte) (int, error) {
	if r.plain {
		return r.f.Read(p)
	}
	if r.at == r.end {
		if err := r.next(); err != nil {
			return 0, err
		}
		if r.plain {
			return r.f.Read(p)
		}
	}
	p = p[:min(int64(len(p)), r.end-r.at)]
	if r.hole {
		clear(p)
		r.at += int64(len(p))
		return len(p), nil
	}
	n, err := r.f.ReadAt(p, r.at)
	r.at += int64(n)
	if n > 0 {
		err = nil // ReadAt tells of the end together with the last of the data
	}
	return n, err
}

// next finds the piece after the one that is read.
func (r *sparseReader) next() error {
	if r.at >= r.size {
		return io.EOF
	}
	fd := int(r.f.Fd())
	data, err := unix.Seek(fd, r.at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // no more data
		r.hole, r.end = true, r.size
		return nil
	case err != nil:
		r.plain = true
		_, err = unix.Seek(fd, r.at, io.SeekStart)
		return err
	case data > r.at:
		r.hole, r.end = true, min(data, r.size)
		return nil
	}
	end, err := unix.Seek(fd, r.at, unix.SEEK_HOLE)
	if err != nil {
		return err
	}
	r.hole, r.end = false, min(end, r.size)
	return nil
}

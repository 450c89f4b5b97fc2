package faces

import (
	"io"
	"os"
	"sync"

	"github.com/ocibuild/ocibuild/cache"
)

// spool is a nameless temporary file that is made when it is first written to,
// which for most layers is never.
type spool struct {
	dir  *cache.Dir
	once sync.Once
	file *os.File
	err  error
}

func (s *spool) open() (*os.File, error) {
	s.once.Do(func() {
		if s.file, s.err = s.dir.TempFile("spool-*"); s.err == nil {
			os.Remove(s.file.Name())
		}
	})
	return s.file, s.err
}

func (s *spool) WriteAt(p []byte, off int64) (int, error) {
	f, err := s.open()
	if err != nil {
		return 0, err
	}
	return f.WriteAt(p, off)
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file == nil {
		return 0, io.EOF
	}
	return s.file.ReadAt(p, off)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}

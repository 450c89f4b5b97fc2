package tree

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	maxPiped    = 256 << 10 // larger files are written as they are read
	pipeWriters = 3
	pipeDepth   = 32 // files on their way, so at most 8 MiB of them
)

// fileKey names a file by the inode of its directory, so that two spellings of
// a path that lead through a symbolic link are one.
type fileKey struct {
	dir  uint64
	base string
}

// filePipe writes small files in other goroutines: creating a file costs the
// kernel more time than the data. Files of one directory are written by one
// writer and in order. Everything else an entry may do waits, through settle,
// for the files on their way that it touches.
type filePipe struct {
	queues  [pipeWriters]chan fileJob
	slots   chan struct{}
	writers sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	pending map[fileKey]int
	count   int
	err     error

	bufs sync.Pool
}

type fileJob struct {
	n    node
	data *[]byte
}

func newFilePipe() *filePipe {
	p := &filePipe{pending: map[fileKey]int{}, slots: make(chan struct{}, pipeDepth)}
	p.changed.L = &p.mu
	p.bufs.New = func() any { return new([]byte) }
	for i := range p.queues {
		q := make(chan fileJob, pipeDepth)
		p.queues[i] = q
		p.writers.Go(func() {
			for job := range q {
				p.done(job, p.run(job))
			}
		})
	}
	return p
}

// write takes the content of a small file over and returns.
func (p *filePipe) write(n node, content io.Reader) error {
	buf := p.bufs.Get().(*[]byte)
	if int64(cap(*buf)) < n.e.Size {
		*buf = make([]byte, n.e.Size)
	}
	*buf = (*buf)[:n.e.Size]
	if _, err := io.ReadFull(content, *buf); err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	p.slots <- struct{}{}
	p.mu.Lock()
	p.pending[n.key()]++
	p.count++
	err := p.err
	p.mu.Unlock()
	n.parent.hold()
	p.queues[n.parent.ino%pipeWriters] <- fileJob{n: n, data: buf}
	return err
}

func (p *filePipe) run(job fileJob) error {
	fd, err := createFile(job.n.parent.fd, job.n.base)
	if errors.Is(err, unix.EEXIST) {
		if err = removeAt(job.n.parent.fd, job.n.base); err == nil {
			fd, err = createFile(job.n.parent.fd, job.n.base)
		}
	}
	if err == nil {
		err = errors.Join(writeAll(fd, *job.data), finishFile(fd, job.n), unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("unpack %q: %w", job.n.e.Name, err)
	}
	return nil
}

func (p *filePipe) done(job fileJob, err error) {
	p.bufs.Put(job.data)
	key := job.n.key()
	job.n.parent.release()
	p.mu.Lock()
	if p.pending[key]--; p.pending[key] == 0 {
		delete(p.pending, key)
	}
	p.count--
	if p.err == nil {
		p.err = err
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	<-p.slots
}

// settle waits until the file is written, if it is on its way.
func (p *filePipe) settle(key fileKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.pending[key] > 0 {
		p.changed.Wait()
	}
}

// wait returns when no file is on its way, with the first error there was.
func (p *filePipe) wait() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.count > 0 {
		p.changed.Wait()
	}
	return p.err
}

func (p *filePipe) stop() {
	for _, q := range p.queues {
		close(q)
	}
	p.writers.Wait()
}

package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// maxFrame bounds one message; a request with hundreds of layers and some
// secrets is far below.
const maxFrame = 64 << 20

// The kinds of messages.
const (
	kindHello   = "hello"
	kindExec    = "exec"
	kindCommit  = "commit"  // Target is the id of an exec
	kindDiscard = "discard" // Target is the id of an exec
	kindSignal  = "signal"  // Target is the id of an exec that runs
	kindCancel  = "cancel"  // Target is the id of a request that runs
	kindRemove  = "remove"
	kindTrees   = "trees"
	kindRenew   = "renew"
)

// message is a request or an answer; an answer has the ID of its request.
type message struct {
	ID     uint64
	Kind   string          `json:",omitempty"`
	Target uint64          `json:",omitempty"`
	Files  []int           `json:",omitempty"` // which of stdin, stdout, stderr come along
	Body   json.RawMessage `json:",omitempty"`
	Error  string          `json:",omitempty"`
	Debug  string          `json:",omitempty"`
	Last   bool            `json:",omitempty"` // no more answers to this request follow
}

// conn is one end of the socket. A frame is its length, the number of files that
// travel with it, and JSON. The files are attached to the first byte, so a
// reader that asks for exactly the header cannot miss them.
type conn struct {
	u  *net.UnixConn
	mu sync.Mutex // for writing
}

func newConn(f *os.File) (*conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a unix socket")
	}
	return &conn{u: u}, nil
}

func (c *conn) send(m *message, files ...*os.File) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes is too large", len(body))
	}
	header := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), byte(len(files)))
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, err := c.u.WriteMsgUnix(header, rights, nil); err != nil {
		return err
	}
	_, err = c.u.Write(body)
	runtime.KeepAlive(files) // their numbers are on the way until here
	return err
}

// receive returns io.EOF when the other side has gone.
func (c *conn) receive() (*message, []*os.File, error) {
	var header [5]byte
	oob := make([]byte, unix.CmsgSpace(3*4))
	n, oobn, _, _, err := c.u.ReadMsgUnix(header[:], oob)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, io.EOF
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	m, err := c.body(header, n)
	if err == nil && (len(files) != int(header[4]) || len(m.Files) != len(files)) {
		err = fmt.Errorf("%d files came with a message of %d", len(files), header[4])
	}
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return m, files, nil
}

func (c *conn) body(header [5]byte, have int) (*message, error) {
	if _, err := io.ReadFull(c.u, header[have:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:4])
	if size > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes is too large", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.u, body); err != nil {
		return nil, err
	}
	m := &message{}
	return m, json.Unmarshal(body, m)
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			closeAll(files)
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "stdio"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

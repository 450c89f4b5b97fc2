package suite

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// archiveTime is the time of what is in archives and base images.
var archiveTime = time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC)

var tarTypes = map[string]byte{
	"file": tar.TypeReg, "dir": tar.TypeDir, "symlink": tar.TypeSymlink, "link": tar.TypeLink,
	"fifo": tar.TypeFifo, "char": tar.TypeChar, "block": tar.TypeBlock,
}

// writeListing makes a tar of lines such as these, in their order:
//
//	dir 0755 0:0 etc/
//	file 0644 10:20 etc/motd "hello\n" user.note=x
//	symlink 0777 0:0 lib usr/lib
//	char 0600 0:0 null 1:3
//
// The content "@busybox" is the machine's own static busybox.
func writeListing(w io.Writer, text string) error {
	t := tar.NewWriter(w)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := writeLine(t, line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return t.Close()
}

func writeLine(t *tar.Writer, line string) error {
	f, err := fields(line)
	if err != nil {
		return err
	}
	if len(f) < 4 || tarTypes[f[0]] == 0 {
		return fmt.Errorf("not a type, mode, owner and name")
	}
	h := &tar.Header{Typeflag: tarTypes[f[0]], Name: f[3], ModTime: archiveTime, PAXRecords: map[string]string{}}
	if h.Mode, err = strconv.ParseInt(f[1], 8, 64); err != nil {
		return err
	}
	if h.Uid, h.Gid, err = pair(f[2]); err != nil {
		return err
	}
	value := ""
	if len(f) > 4 {
		value = f[4]
	}
	for _, x := range f[min(5, len(f)):] {
		k, v, _ := strings.Cut(x, "=")
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	var data []byte
	switch h.Typeflag {
	case tar.TypeReg:
		if data, err = content(value); err != nil {
			return err
		}
		h.Size = int64(len(data))
	case tar.TypeSymlink, tar.TypeLink:
		h.Linkname = value
	case tar.TypeChar, tar.TypeBlock:
		major, minor, err := pair(value)
		if err != nil {
			return err
		}
		h.Devmajor, h.Devminor = int64(major), int64(minor)
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = t.Write(data)
	return err
}

func pair(s string) (a, b int, err error) {
	_, err = fmt.Sscanf(s, "%d:%d", &a, &b)
	return a, b, err
}

func content(value string) ([]byte, error) {
	if value != "@busybox" {
		return []byte(value), nil
	}
	return busybox()
}

func busybox() ([]byte, error) {
	found, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w (it is in the package busybox-static)", err)
	}
	return os.ReadFile(found)
}

// archive packs a listing of the context, compressed as the name says, and
// removes the listing.
func archive(dir, to, listing string) error {
	from := filepath.Join(dir, listing)
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	if err := writeListing(&raw, string(text)); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil {
		return err
	}
	data, err := compress(path.Ext(to), raw.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, to), data, 0o644)
}

func compress(ext string, raw []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ext {
	case ".gz", ".tgz":
		w = gzip.NewWriter(&out)
	case ".zst":
		w, err = zstd.NewWriter(&out)
	case ".xz":
		w, err = xz.NewWriter(&out)
	default:
		return raw, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

package cache

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// The checksum spares the digest, and never has the last word on damage.
func TestChecksumOfABlob(t *testing.T) {
	d := open(t)
	const text = "some bytes"
	dgst := digest.FromString(text)
	tests := []struct {
		name, bytes string
		checksum    string // of other bytes; as written if empty
		damaged     bool
	}{
		{"as it came", text, "", false},
		{"other bytes", "some bytez", "", true},
		{"fewer bytes", "some byte", "", true},
		{"another checksum", text, "00000000", false},
		{"no checksum that can be read", text, "x", false},
		{"other bytes and another checksum", "some bytez", "00000000", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.PutBlob(t.Context(), strings.NewReader(text), dgst, int64(len(text))); err != nil {
				t.Fatal(err)
			}
			path := d.BlobPath(dgst)
			if n, err := unix.Getxattr(path, checksumAttribute, nil); err != nil || n != 8 {
				t.Skipf("SKIPPED: no attributes here: %d, %v", n, err)
			}
			if err := os.WriteFile(path, []byte(tt.bytes), 0o600); err != nil { // the attribute stays
				t.Fatal(err)
			}
			if tt.checksum != "" {
				if err := unix.Setxattr(path, checksumAttribute, []byte(tt.checksum), 0); err != nil {
					t.Fatal(err)
				}
			}
			r, err := d.OpenVerified(dgst, int64(len(text)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if _, damaged := errors.AsType[*DamagedError](err); damaged != tt.damaged || !damaged && string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	d := open(b)
	data := make([]byte, 64<<20)
	dgst := digest.FromBytes(data)
	if err := d.PutBlob(b.Context(), strings.NewReader(string(data)), dgst, int64(len(data))); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"by checksum", "by digest"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := d.VerifyBlob(dgst, int64(len(data))); err != nil {
					b.Fatal(err)
				}
			}
		})
		_ = unix.Removexattr(d.BlobPath(dgst), checksumAttribute)
	}
}

package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

// most is how much output of an input is compared.
const most = 4 << 20

// FuzzInflate compares what becomes of deflate data with compress/flate. The
// trailer is made to fit, or damage would stop at the checksum.
func FuzzInflate(f *testing.F) {
	for _, data := range [][]byte{nil, []byte("hello, hello, hello"), sources(f)[:4000], make([]byte, 100_000)} {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			packed := pack(f, data, level)
			f.Add(packed[10 : len(packed)-8])
		}
	}
	f.Add([]byte{3, 0})
	f.Fuzz(func(t *testing.T, deflated []byte) {
		in := bytes.NewReader(deflated)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(in), most))
		used := deflated[:len(deflated)-in.Len()]
		b := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, used...)
		if wantErr == nil {
			b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(want))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(want)))
		}
		z, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(z, most))
		switch {
		case (err == nil) != (wantErr == nil):
			t.Fatalf("error %v, compress/flate has %v", err, wantErr)
		case err == nil && !bytes.Equal(got, want):
			t.Fatalf("%d bytes that are not the %d of compress/flate", len(got), len(want))
		case err != nil && errors.Is(err, gzip.ErrChecksum):
			t.Fatalf("the checksum was made to fit: %v", err)
		case err != nil && !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want):
			t.Fatalf("of %d and %d bytes before an error, one is not the start of the other", len(got), len(want))
		}
	})
}

package inflate

import (
	"bytes"
	"compress/flate"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

// samples are raw bytes that bring out each kind of block, match and run.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	r := rand.NewChaCha8([32]byte{1})
	random := make([]byte, 300_000)
	r.Read(random)
	s := map[string][]byte{
		"empty": {}, "one byte": {7}, "random": random, "zeros": make([]byte, 3_000_000),
		"text":       []byte(strings.Repeat("the quick brown fox jumps over the lazy dog. ", 20_000)),
		"own source": sources(t),
	}
	for period := 1; period <= 40; period++ {
		s[fmt.Sprintf("period %d", period)] = bytes.Repeat(random[:period], 70_000/period)
	}
	// Few and skewed symbols, long codes: more than the main table holds.
	skewed := make([]byte, 400_000)
	rnd := rand.New(r)
	for i := range skewed {
		skewed[i] = byte(rnd.ExpFloat64() * 12)
	}
	s["skewed"] = skewed
	// Matches of every distance, far ones across the border of the buffer.
	var far []byte
	for len(far) < 1_500_000 {
		n := 3 + rnd.IntN(300)
		if d := 1 + rnd.IntN(window); d+n < len(far) && rnd.IntN(8) != 0 {
			far = append(far, far[len(far)-d:len(far)-d+n]...)
		} else {
			far = append(far, random[n:2*n]...)
		}
	}
	s["far"] = far
	return s
}

func sources(t testing.TB) []byte {
	t.Helper()
	var b []byte
	for _, name := range []string{"reader.go", "symbols.go", "codes.go", "dynamic.go", "header.go"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, data...)
	}
	return b
}

// pack compresses data with compress/gzip.
func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdgzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(struct{ io.Reader }{z})
}

func unpackStd(r io.Reader) ([]byte, error) {
	z, err := stdgzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestLevels(t *testing.T) {
	for name, data := range samples(t) {
		for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 5, 6, 9} {
			got, err := unpack(bytes.NewReader(pack(t, data, level)))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, level %d: %d bytes of %d, error %v", name, level, len(got), len(data), err)
			}
			var b bytes.Buffer
			w, _ := gzip.NewWriterLevel(&b, max(level, gzip.HuffmanOnly))
			w.Write(data[:len(data)/2])
			w.Flush()
			w.Write(data[len(data)/2:])
			w.Close()
			if got, err = unpack(&b); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, level %d of klauspost: %d bytes of %d, error %v", name, level, len(got), len(data), err)
			}
		}
	}
}

// However small the pieces in which input comes and output is asked for, the
// bytes are the same.
func TestSmallPieces(t *testing.T) {
	data := samples(t)["far"][:400_000]
	packed := pack(t, data, 6)
	for name, r := range map[string]io.Reader{
		"bytes": iotest.OneByteReader(bytes.NewReader(packed)), "halves": iotest.HalfReader(bytes.NewReader(packed)),
		"error with data": iotest.DataErrReader(bytes.NewReader(packed)),
	} {
		if got, err := unpack(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("input in %s: %d bytes of %d, error %v", name, len(got), len(data), err)
		}
	}
	z, err := NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(z, data); err != nil {
		t.Error(err)
	}
}

// Read, Next and WriteTo go on where the other one stopped.
func TestOneAfterTheOther(t *testing.T) {
	data := samples(t)["far"]
	z, err := NewReader(bytes.NewReader(pack(t, data, 6)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1000)
	if _, err := io.ReadFull(z, got); err != nil {
		t.Fatal(err)
	}
	p, err := z.Next()
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.NewBuffer(append(got, p...))
	n, err := z.WriteTo(b)
	if err != nil || !bytes.Equal(b.Bytes(), data) || n != int64(len(data)-len(p)-1000) {
		t.Errorf("%d bytes, error %v", n, err)
	}
	if n, err := z.Read(got); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

func TestMembers(t *testing.T) {
	text := samples(t)["text"]
	var packed, want []byte
	for i := range 50 {
		part := text[:i*i*300%len(text)]
		packed, want = append(packed, pack(t, part, 1+i%9)...), append(want, part...)
	}
	if got, err := unpack(bytes.NewReader(packed)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(want), err)
	}
	got, err := unpack(bytes.NewReader(append(packed, "garbage that is no header"...)))
	if !errors.Is(err, stdgzip.ErrHeader) || !bytes.Equal(got, want) {
		t.Errorf("garbage behind it: %d bytes of %d, error %v", len(got), len(want), err)
	}
	if _, err := unpack(bytes.NewReader(append(packed, 0x1f))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a header behind it: error %v", err)
	}
	if _, err := NewReader(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("empty input: error %v", err)
	}
	// A match does not reach into the member before.
	reach := append(pack(t, []byte("abcdefgh"), 6), member([]byte{0x03, 0x22, 0x00})...)
	compare(t, "reach into the member before", reach)
}

// member wraps deflate data, with a checksum of nothing.
func member(deflated []byte) []byte {
	b := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, deflated...)
	return append(b, make([]byte, 8)...)
}

func TestHeaders(t *testing.T) {
	plain := pack(t, []byte("content"), 6)
	with := func(flags byte, extra string) []byte {
		b := bytes.Clone(plain[:10])
		b[3] = flags
		return append(append(b, extra...), plain[10:]...)
	}
	var all bytes.Buffer
	w := stdgzip.NewWriter(&all)
	w.Name, w.Comment, w.Extra = "näme", "comment", []byte("extra")
	w.Write([]byte("content"))
	w.Close()
	long := strings.Repeat("n", 511)
	for name, b := range map[string][]byte{
		"all": all.Bytes(), "name": with(flagName, "name\x00"), "no end of name": with(flagName, strings.Repeat("n", 2000)),
		"longest name": with(flagName, long+"\x00"), "longer name": with(flagName, long+"n\x00"),
		"extra": with(flagExtra, "\x05\x00extra"), "text": with(1, ""),
		"checksum": with(flagHeaderCRC, "\x00\x00"), "method": append([]byte{0x1f, 0x8b, 7}, plain[3:]...),
	} {
		compare(t, name, b)
		for n := range min(len(b), 40) {
			compare(t, fmt.Sprintf("%s, %d bytes of it", name, n), b[:n])
		}
	}
	if _, err := unpack(bytes.NewReader(with(1<<5, ""))); !errors.Is(err, stdgzip.ErrHeader) {
		t.Errorf("reserved flag: error %v", err)
	}
}

// compare sees to it that this package and compress/gzip make the same of
// packed.
func compare(t *testing.T, name string, packed []byte) {
	t.Helper()
	want, wantErr := unpackStd(bytes.NewReader(packed))
	got, err := unpack(bytes.NewReader(packed))
	if class(err) != class(wantErr) {
		t.Errorf("%s: error %v, compress/gzip has %v", name, err, wantErr)
	}
	// Before an error one may have seen a symbol more than the other.
	if !bytes.Equal(got, want) && (err == nil || !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want)) {
		t.Errorf("%s: %d bytes that are not the %d of compress/gzip", name, len(got), len(want))
	}
}

func class(err error) string {
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return "corrupt"
	}
	return fmt.Sprint(err)
}

func TestCut(t *testing.T) {
	data := sources(t)
	for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 6} {
		packed := pack(t, data[:1500], level)
		for n := range packed {
			compare(t, fmt.Sprintf("level %d, %d bytes of it", level, n), packed[:n])
			if _, err := unpack(bytes.NewReader(packed[:n])); n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("level %d, %d bytes of it: error %v", level, n, err)
			}
		}
	}
}

func TestDamage(t *testing.T) {
	data := samples(t)["skewed"][:500]
	for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 6} {
		packed := pack(t, append(data[:len(data):len(data)], sources(t)[:500]...), level)
		for i := range packed {
			for _, flip := range []byte{1, 0x10, 0x80, 0xff} {
				bad := bytes.Clone(packed)
				bad[i] ^= flip
				_, stdErr := unpackStd(bytes.NewReader(bad))
				got, err := unpack(bytes.NewReader(bad))
				if i == 3 && flip >= 1<<5 {
					stdErr = stdgzip.ErrHeader // it passes over reserved flags
				}
				if (err == nil) != (stdErr == nil) {
					t.Errorf("level %d, byte %d: %d bytes, error %v; compress/gzip has %v", level, i, len(got), err, stdErr)
				}
			}
		}
		for i := range 8 {
			bad := bytes.Clone(packed)
			bad[len(bad)-1-i] ^= 1
			if _, err := unpack(bytes.NewReader(bad)); !errors.Is(err, stdgzip.ErrChecksum) {
				t.Errorf("trailer byte %d: error %v", i, err)
			}
		}
	}
}

// The errors of the input come out as they are, after what came before them.
func TestInputError(t *testing.T) {
	broken := errors.New("broken")
	data := sources(t)
	packed := pack(t, data, 6)
	got, err := unpack(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(got) == 0 || !bytes.HasPrefix(data, got) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if _, err := NewReader(stuck{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

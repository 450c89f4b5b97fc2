package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// cutting serves data and cuts each of the first cuts connections at byte k of
// its body.
func cutting(data []byte, k, cuts int, ranges bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		rest := data
		var start int
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); n == 1 && ranges {
			rest = data[start:]
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
		} else {
			start = -1
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
		if start >= 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		if cuts == 0 || len(rest) <= k {
			w.Write(rest)
			return true
		}
		cuts--
		w.Write(rest[:k])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestDownloadSurvivesCutConnections(t *testing.T) {
	tests := []struct {
		size, k, cuts int
		ranges        bool
		offset        int64
	}{
		{40, 1, 1000, true, 0},
		{100_000, 9_999, 1000, true, 0},
		{100_000, 99_999, 1000, true, 0},
		{100_000, 30_000, 1000, true, 50_000},
		{100_000, 50_000, 3, false, 0},
		{100_000, 10, 0, false, 60_000},
		{100_000, 0, 3, true, 0},
		{0, 0, 0, true, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			data, desc := blobOf(tt.size)
			h := newHub(t, cutting(data, tt.k, tt.cuts, tt.ranges))
			r, err := repo(t, quick(), h.host+"/a").Fetch(t.Context(), desc, tt.offset)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data[tt.offset:]) {
				t.Errorf("%d of %d bytes, %v", len(got), tt.size, err)
			}
		})
	}
}

func TestDownloadGivesUpWithoutProgress(t *testing.T) {
	data, desc := blobOf(1000)
	served := 0
	h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		served++
		return cutting(data, 500, 1, false)(w, r) // always the same half
	})
	r, err := repo(t, quick(), h.host+"/a").Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	wantError(t, err, "connection cut", "at byte 500 of 1000")
	if len(got) != 500 || served < 5 || served > 10 {
		t.Errorf("%d bytes after %d requests", len(got), served)
	}
}

func TestDownloadEndsWithItsContext(t *testing.T) {
	data, desc := blobOf(1000)
	h := newHub(t, cutting(data, 100, 1<<30, false))
	reg := quick()
	reg.RetryDelay = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	r, err := repo(t, reg, h.host+"/a").Fetch(ctx, desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestSilentDownloadIsCutAndResumed(t *testing.T) {
	data, desc := blobOf(1000)
	first := true
	h := newHub(t, nil)
	h.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || !first {
			return cutting(data, 0, 0, true)(w, r)
		}
		first = false
		w.Header().Set("Content-Length", "1000")
		w.Write(data[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	reg := quick()
	reg.stall = 30 * time.Millisecond
	r, err := repo(t, reg, h.host+"/a").Fetch(t.Context(), desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func chunked(w http.ResponseWriter, parts ...[]byte) {
	for _, p := range parts {
		w.Write(p)
		w.(http.Flusher).Flush()
	}
}

func TestDownloadRefusesOtherBlobs(t *testing.T) {
	data, desc := blobOf(1000)
	tests := []struct {
		name   string
		offset int64
		answer func(w http.ResponseWriter)
		word   string
	}{
		{"longer, announced", 0, func(w http.ResponseWriter) { w.Write(append(data, 'x')) }, "blob has 1001 bytes, the manifest says 1000"},
		{"longer, chunked", 0, func(w http.ResponseWriter) { chunked(w, data, []byte("x")) }, "more than the 1000 bytes"},
		{"endless", 0, func(w http.ResponseWriter) { chunked(w, slices.Repeat([][]byte{data}, 1000)...) }, "more than the 1000 bytes"},
		{"shorter", 0, func(w http.ResponseWriter) { w.Write(data[:999]) }, "blob has 999 bytes"},
		{"login page", 0, func(w http.ResponseWriter) { io.WriteString(w, "<html>welcome") }, "blob has 13 bytes"},
		{"encoded", 0, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(data)
		}, "content encoding"},
		{"another range", 10, func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 20-999/1000")
			w.WriteHeader(206)
			w.Write(data[20:])
		}, "asked for bytes from 10"},
		{"no range", 10, func(w http.ResponseWriter) {
			w.WriteHeader(206)
			w.Write(data[10:])
		}, "asked for bytes from 10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				tt.answer(w)
				return true
			})
			r, err := repo(t, quick(), h.host+"/a").Fetch(t.Context(), desc, tt.offset)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			wantError(t, err, tt.word)
		})
	}
}

func TestDownloadOfAMalformedDigest(t *testing.T) {
	_, bad := blobOf(10)
	bad.Digest = "sha256:../../../../etc/passwd"
	_, err := repo(t, quick(), "127.0.0.1:1/a").Fetch(t.Context(), bad, 0)
	wantError(t, err, "invalid checksum digest")
}

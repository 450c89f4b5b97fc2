package failure_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/failure"
)

func TestAwaitEndsWithItsContext(t *testing.T) {
	why := errors.New("the user left")
	ctx, end := context.WithCancelCause(t.Context())
	held := make(chan struct{})
	defer close(held)
	time.AfterFunc(10*time.Millisecond, func() { end(why) })
	_, err := failure.Await(ctx, "hanging", func() (int, error) { <-held; return 1, nil })
	if !errors.Is(err, why) || !errors.Is(err, context.Canceled) || err.Error() != why.Error() {
		t.Errorf("error %v", err)
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	for name, f := range map[string]func() (int, error){
		"panic":  func() (int, error) { panic(io.ErrClosedPipe) },
		"goexit": func() (int, error) { runtime.Goexit(); return 0, nil },
	} {
		_, err := failure.Await(t.Context(), name, f)
		var ce *failure.CallbackError
		if !errors.As(err, &ce) || ce.Name != name {
			t.Errorf("%s: error %v", name, err)
		}
		if name == "panic" && (!errors.Is(err, io.ErrClosedPipe) || !strings.Contains(string(ce.Stack), "TestPanicsBecomeErrors")) {
			t.Errorf("error %v, stack %s", err, ce.Stack)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReader(t *testing.T) {
	r := failure.Reader(t.Context(), "r", strings.NewReader("all of it"))
	if data, err := io.ReadAll(r); err != nil || string(data) != "all of it" || r.Close() != nil {
		t.Errorf("read %q, %v", data, err)
	}
	r = failure.Reader(t.Context(), "r", readerFunc(func([]byte) (int, error) { panic("no") }))
	var ce *failure.CallbackError
	if _, err := io.ReadAll(r); !errors.As(err, &ce) {
		t.Errorf("error %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	held := make(chan struct{})
	defer close(held)
	time.AfterFunc(10*time.Millisecond, end)
	r = failure.Reader(ctx, "r", readerFunc(func([]byte) (int, error) { <-held; return 0, io.EOF }))
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestJoinLeavesOneErrorBare(t *testing.T) {
	if failure.Join(nil, nil) != nil || failure.Join(nil, io.EOF, nil) != io.EOF { //nolint:errorlint // the very one
		t.Error("one error was wrapped")
	}
	if err := failure.Join(io.EOF, io.ErrNoProgress); !errors.Is(err, io.EOF) || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
}

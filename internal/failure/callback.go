// Package failure keeps what callers give a build (functions, readers, sinks)
// from ending the program or from holding the build up, and joins errors.
package failure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

// CallbackError is a panic in something that the caller gave: a function, a
// reader, a sink.
type CallbackError struct {
	Name  string // what was called: "Secret.Value", "Progress"
	Value any    // what panic was called with
	Stack []byte // of the goroutine that panicked
}

// Error names the callback and what it panicked with; the stack is a field.
func (e *CallbackError) Error() string { return fmt.Sprintf("%s: panic: %v", e.Name, e.Value) }

// Unwrap returns the error that panic was called with, if it was one.
func (e *CallbackError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errExit is a callback that ended its goroutine, as t.FailNow does.
var errExit = errors.New("runtime.Goexit was called")

// Guard calls f. A panic becomes a *CallbackError.
func Guard(name string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &CallbackError{Name: name, Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// Await calls f and returns what it does, or the cause of ctx as soon as ctx ends:
// what f was waiting for is left behind then, and its result dropped.
func Await[T any](ctx context.Context, name string, f func() (T, error)) (T, error) {
	return AwaitFor(ctx, 0, name, f)
}

// AwaitFor is Await for what may go on for a while after ctx has ended.
func AwaitFor[T any](ctx context.Context, grace time.Duration, name string, f func() (T, error)) (T, error) {
	type answer struct {
		val T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		a := answer{err: &CallbackError{Name: name, Value: errExit}}
		defer func() { done <- a }()
		a.err = Guard(name, func() error {
			var err error
			a.val, err = f()
			return err
		})
	}()
	select {
	case a := <-done:
		return a.val, a.err
	case <-ctx.Done():
	}
	if grace > 0 {
		over := time.NewTimer(grace)
		defer over.Stop()
		select {
		case a := <-done:
			return a.val, a.err
		case <-over.C:
		}
	}
	var none T
	return none, Interruption(ctx)
}

// Reader returns a reader of what r yields that ends with ctx, also while r
// blocks, and turns a panic of r into an error. Close it in the end.
func Reader(ctx context.Context, name string, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(Interruption(ctx)) })
	go func() {
		var err error = &CallbackError{Name: name, Value: errExit}
		defer func() { in.CloseWithError(err) }()
		err = Guard(name, func() error {
			_, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, 256<<10))
			return err
		})
	}()
	return &reader{out, stop}
}

type reader struct {
	*io.PipeReader
	stop func() bool
}

func (r *reader) Close() error {
	r.stop()
	return r.PipeReader.Close()
}

// Join is errors.Join, but one error comes as it is.
func Join(errs ...error) error {
	var first error
	n := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if n++; n == 1 {
			first = err
		}
	}
	if n > 1 {
		return errors.Join(errs...)
	}
	return first
}

// Interruption returns why ctx ended: both its error and its cause are in the chain.
func Interruption(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return &interrupted{cause, err}
}

// interrupted reads as its cause.
type interrupted struct{ cause, err error }

func (e *interrupted) Error() string   { return e.cause.Error() }
func (e *interrupted) Unwrap() []error { return []error{e.cause, e.err} }

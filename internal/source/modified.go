package source

import (
	"context"
	"net/http"
	"time"
)

// Modified tells when the commit was made. It fetches the commit unless the
// store has it, but checks nothing out.
func (c *Checkout) Modified(ctx context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.resolve(ctx)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	bare, err := c.fetch(ctx, at)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	t, err := c.commitTime(ctx, call{gitDir: bare}, at)
	if err != nil {
		return time.Time{}, c.failed(err)
	}
	return t, nil
}

// Modified tells what the server says of when the file was changed last; the
// zero time if it says nothing. It fetches the file.
func (f *WebFile) Modified(ctx context.Context) (time.Time, error) {
	got, err := f.fetch(ctx)
	if err != nil {
		return time.Time{}, err
	}
	t, err := http.ParseTime(got.LastModified)
	if err != nil {
		return time.Time{}, nil // no time, or none that anybody understands
	}
	return t, nil
}

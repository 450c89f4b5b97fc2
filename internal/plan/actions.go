package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// timestamp turns LLB's nanoseconds into a time; -1 is none.
func timestamp(ns int64) *time.Time {
	if ns == -1 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

// Mkdir makes a directory. One that exists already stays as it is.
func (t *Tree) Mkdir(ctx context.Context, op *graph.Mkdir, own *Owner) error {
	name, _ := clean(op.Path)
	name, err := t.resolve(ctx, name)
	if err != nil {
		return err
	}
	at := timestamp(op.Timestamp)
	if op.Parents {
		return t.mkdirAll(ctx, name, uint32(op.Mode)&0o777, own, at)
	}
	if _, err := t.Lookup(ctx, name); err == nil {
		return nil
	}
	if err := t.isDir(ctx, dirOf(name)); err != nil {
		return err
	}
	return t.mkdirAll(ctx, name, uint32(op.Mode)&0o777, own, at)
}

// Mkfile writes a file, in place of any file that has the name.
func (t *Tree) Mkfile(ctx context.Context, op *graph.Mkfile, own *Owner) error {
	name, _ := clean(op.Path)
	name, err := t.resolve(ctx, name)
	if err != nil {
		return err
	}
	if err := t.isDir(ctx, dirOf(name)); err != nil {
		return err
	}
	if e, err := t.Lookup(ctx, name); err == nil && e.Type == layer.Directory {
		return fmt.Errorf("/%s is a directory, a file cannot replace it", name)
	}
	e := layer.Entry{
		Name: name, Type: layer.Regular, Size: int64(len(op.Data)),
		Mode: uint32(op.Mode) & 0o777, ModTime: t.time(timestamp(op.Timestamp)),
	}
	if err := errors.Join(t.inherit(ctx, &e), t.touch(ctx, name, timestamp(op.Timestamp))); err != nil {
		return err
	}
	own.apply(&e)
	_, err = t.put(ctx, e, content{data: bytes.NewReader(op.Data)})
	return err
}

// Symlink makes a symbolic link; its name must be free.
func (t *Tree) Symlink(ctx context.Context, op *graph.Symlink, own *Owner) error {
	name, _ := clean(op.New)
	name, err := t.resolve(ctx, name)
	if err != nil {
		return err
	}
	if err := t.isDir(ctx, dirOf(name)); err != nil {
		return err
	}
	if _, err := t.Lookup(ctx, name); err == nil {
		return fmt.Errorf("symlink /%s: %w", name, fs.ErrExist)
	}
	e := layer.Entry{Name: name, Type: layer.Symlink, Linkname: op.Old, Mode: 0o777, ModTime: t.time(timestamp(op.Timestamp))}
	if err := errors.Join(t.inherit(ctx, &e), t.touch(ctx, name, timestamp(op.Timestamp))); err != nil {
		return err
	}
	own.apply(&e)
	_, err = t.put(ctx, e, content{})
	return err
}

// Remove removes a name, or all that match a wildcard, with what is in them.
func (t *Tree) Remove(ctx context.Context, op *graph.Remove) error {
	names := []string{op.Path}
	if op.Wildcard {
		var err error
		name, _ := clean(op.Path)
		if names, err = glob(ctx, t, name, false); err != nil {
			return err
		}
	}
	for _, p := range names {
		name, _ := clean(p)
		if name == "." {
			return errors.New("rm /: the root cannot be removed")
		}
		name, err := layer.Resolve(ctx, t, name, false)
		if err != nil {
			return err
		}
		if _, err := t.Lookup(ctx, name); errors.Is(err, fs.ErrNotExist) && op.AllowNotFound {
			continue
		} else if err != nil {
			return err
		}
		if err := t.remove(ctx, name); err != nil {
			return err
		}
		if err := t.touch(ctx, name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) isDir(ctx context.Context, name string) error {
	e, err := t.Lookup(ctx, name)
	if err != nil {
		return err
	}
	if e.Type != layer.Directory {
		return fmt.Errorf("/%s is not a directory", name)
	}
	return nil
}

package sandbox

import (
	"io"
	"os"
)

// files are the standard files of the step. done closes those that are ours, when
// the step has them.
func (k *keeper) files() (files []*os.File, done func(), err error) {
	var own []*os.File
	done = func() {
		for _, f := range own {
			f.Close()
		}
	}
	files = []*os.File{k.stdio.Stdin, k.stdio.Stdout, k.stdio.Stderr}
	for i := range files {
		if files[i] != nil {
			continue
		}
		if files[i], err = k.nothing(i); err != nil {
			return nil, done, err
		}
		own = append(own, files[i])
	}
	return files, done, nil
}

// nothing is a standard file that the caller has not given.
func (k *keeper) nothing(number int) (*os.File, error) {
	if k.runtime == nil || !k.runtime.runtime.OwnsStdio() {
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	if number == 0 {
		return r, w.Close()
	}
	go func() {
		_, _ = io.Copy(io.Discard, r) // until the step has ended
		r.Close()
	}()
	return w, nil
}

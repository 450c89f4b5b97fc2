package inroot

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Somebody exchanges directories for links, and moves them out of the tree,
// while paths are looked up. Whatever is opened is in the tree.
func TestNothingLeadsOutDuringRenames(t *testing.T) {
	ways := map[string]func(*Root, string, Rule) (int, error){
		"the kernel": func(r *Root, name string, rule Rule) (int, error) { return Open(r.fd, name, unix.O_RDONLY, rule) },
		"stepwise": func(r *Root, name string, rule Rule) (int, error) {
			return stepwise(r.fd, name, unix.O_RDONLY, rule, nil)
		},
	}
	for way, open := range ways {
		t.Run(way, func(t *testing.T) {
			root, dir := hostile(t)
			image := filepath.Join(dir, "image")
			must(t, os.Symlink("../..", filepath.Join(image, "usr/out")))
			must(t, os.Symlink(dir, filepath.Join(image, "usr/away")))
			must(t, os.Mkdir(filepath.Join(dir, "place"), 0o755))
			stop := attack(t, [][2]string{
				{image + "/usr/bin", image + "/usr/out"}, {image + "/usr/bin", image + "/usr/away"},
				{image + "/deep", dir + "/place"}, // the way back leads elsewhere
			})
			defer stop()
			for range 3000 {
				for _, name := range []string{"usr/bin/outside/secret", "usr/bin/../../outside/secret", "deep/er/../../outside/secret", "bin/../../../outside/secret"} {
					for _, rule := range []Rule{Within, Plain} {
						fd, err := open(root, name, rule)
						if err != nil {
							continue
						}
						text := make([]byte, 20)
						n, err := unix.Read(fd, text)
						unix.Close(fd)
						if err != nil || string(text[:n]) != "of the image" {
							t.Fatalf("%s leads to a file %q, %v", name, text[:n], err)
						}
					}
				}
			}
		})
	}
}

// attack exchanges the files of each pair until it is stopped.
func attack(t *testing.T, pairs [][2]string) (stop func()) {
	var end atomic.Bool
	var all sync.WaitGroup
	started := make(chan struct{})
	all.Go(func() {
		for first := true; !end.Load(); first = false {
			for _, p := range pairs {
				if err := unix.Renameat2(unix.AT_FDCWD, p[0], unix.AT_FDCWD, p[1], unix.RENAME_EXCHANGE); err != nil && err != unix.ENOENT && err != unix.ENOTDIR {
					t.Errorf("exchange %s and %s: %v", p[0], p[1], err)
				}
			}
			if first {
				close(started)
			}
		}
	})
	<-started
	return func() { end.Store(true); all.Wait() }
}

// Two make the same directories at once; and links are made in their place.
func TestPlacesDuringRenames(t *testing.T) {
	root, dir := hostile(t)
	image := filepath.Join(dir, "image")
	must(t, os.Symlink("../../outside", filepath.Join(image, "usr/out")))
	stop := attack(t, [][2]string{{image + "/usr/bin", image + "/usr/out"}})
	defer stop()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 1000 {
				p, err := root.Place("usr/bin/x/y/z", makeDir)
				if err == nil {
					unix.Close(max(p.FD, p.Dir))
				} else if _, err := os.Lstat(dir + "/outside/x"); err == nil {
					t.Error("a directory was made outside of the tree")
				}
				_ = os.RemoveAll(image + "/usr/bin/x")
			}
		})
	}
	all.Wait()
	left, err := os.ReadDir(dir + "/outside")
	must(t, err)
	if len(left) != 1 {
		t.Errorf("outside of the tree are %v", left)
	}
}

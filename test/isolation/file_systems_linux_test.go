package isolation

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fileSystem puts another file system over the folder of a way, which it then
// belongs to as before.
type fileSystem func(*way) error

// onOverlay is what a container has: no overlay can be laid over it.
func onOverlay(w *way) error { return w.layer("lower", "upper") }

// layer mounts an overlay of two folders beside that of the way.
func (w *way) layer(lower, upper string) error {
	below := w.dir + ".below"
	var options []string
	for kind, name := range map[string]string{"lower": lower, "upper": upper, "work": "work-" + upper} {
		dir := filepath.Join(below, name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), likeDir(dir, w.dir)); err != nil {
			return err
		}
		options = append(options, kind+"dir="+dir)
	}
	if err := unix.Mount("overlay", w.dir, "overlay", 0, strings.Join(options, ",")); err != nil {
		return err
	}
	at := w.dir
	w.off = append(w.off, func() error { return os.RemoveAll(below) }, func() error { return unmount(at) })
	return nil
}

// onFUSE is a file system of a process, as those of many clouds are. Devices on it do
// nothing, as in every container.
func onFUSE(w *way) error { return bound(w) }

// onFUSEWithout keeps no attributes, as NFS before version 4.2.
func onFUSEWithout(w *way) error { return bound(w, "--xattr-none") }

func bound(w *way, options ...string) error {
	below := w.dir + ".below"
	if err := errors.Join(os.Mkdir(below, 0o755), likeDir(below, w.dir)); err != nil {
		return err
	}
	if err := tool("bindfs", append(options, "-o", "allow_other", below, w.dir)...); err != nil {
		return errors.Join(err, os.RemoveAll(below))
	}
	w.off = append(w.off, func() error { return os.RemoveAll(below) }, w.unmount)
	return nil
}

// onExFAT keeps neither links nor modes, owners or attributes.
func onExFAT(w *way) error {
	image := w.dir + ".image"
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20), tool("mkfs.exfat", image)); err != nil {
		return err
	}
	w.off = append(w.off, func() error { return os.Remove(image) })
	device, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		return fmt.Errorf("%w: losetup: %w", errors.ErrUnsupported, err)
	}
	loop := strings.TrimSpace(string(device))
	w.off = append(w.off, func() error { return tool("losetup", "--detach", loop) })
	if err := tool("mount.exfat-fuse", "-o", "allow_other,umask=022", loop, w.dir); err != nil {
		return err
	}
	w.off = append(w.off, w.unmount)
	return nil
}

// TestC3StoreOfAnImage builds in a container whose image has a store already: what lies
// in it can be read, and not be moved.
func TestC3StoreOfAnImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount a file system")
	}
	dir := openDir(t)
	base, context := filepath.Join(dir, "base"), filepath.Join(dir, "context")
	must(t, os.Mkdir(base, 0o755))
	writeBase(t, base)
	const first, second = "FROM busybox\nRUN mkdir /d && echo x >/d/f\n", "RUN echo y >/d/g && rm /d/f && mv /old/one /d/\n"
	must(t, writeFiles(context, map[string][]byte{"first": []byte(first), "second": []byte(first + second)}))
	w := &way{name: "container", binary: ocibuild(t, dir), dir: filepath.Join(dir, "container")}
	must(t, os.Mkdir(w.dir, 0o755))
	t.Cleanup(func() { w.leave(t) })
	build := func(args ...string) string {
		t.Helper()
		o := w.run(nil, append([]string{"build", "-q"}, args...)...)
		if o.code != 0 {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		return o.stdout
	}
	must(t, w.layer("empty", "image"))
	build("-t", "busybox", base)
	build("-f", filepath.Join(context, "first"), context)
	must(t, w.unmount())
	must(t, w.layer("image", "container"))
	got := build("-o", "type=image,rewrite-timestamp=true", "-f", filepath.Join(context, "second"), context)
	if o := w.run(nil, "doctor", "--json"); !strings.Contains(o.stdout, "flat trees") {
		t.Errorf("trees are not flat there: %s", o.stdout)
	}
	w.dir = filepath.Join(dir, "plain")
	must(t, os.Mkdir(w.dir, 0o755))
	build("-t", "busybox", base)
	build("-f", filepath.Join(context, "first"), context)
	if want := build("-o", "type=image,rewrite-timestamp=true", "-f", filepath.Join(context, "second"), context); got != want {
		t.Errorf("%s in the container, and %s in a plain folder", got, want)
	}
}

// TestC5StoreWithoutLinks builds on a file system that keeps nothing but names and
// content: what needs no more works, and RUN says what is missing.
func TestC5StoreWithoutLinks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount a file system")
	}
	dir := openDir(t)
	context := filepath.Join(dir, "context")
	must(t, writeFiles(context, map[string][]byte{"Dockerfile": []byte(copies), "run.Dockerfile": []byte(runs), "f": []byte("content\n")}))
	binary := ocibuild(t, dir)
	var digests []string
	for _, on := range []fileSystem{onExFAT, onOverlay} {
		w := &way{binary: binary, dir: filepath.Join(dir, fmt.Sprint("volume-", len(digests)))}
		must(t, os.Mkdir(w.dir, 0o755))
		t.Cleanup(func() { w.leave(t) })
		if err := on(w); errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("SKIPPED: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
		o := w.run(nil, "build", "-q", "-o", "type=image,rewrite-timestamp=true", context)
		if o.code != 0 {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		digests = append(digests, o.stdout)
		if len(digests) > 1 {
			continue
		}
		o = w.run(nil, "build", "-q", "-f", filepath.Join(context, "run.Dockerfile"), context)
		want := "run.Dockerfile:3: no way to run build steps: store " + w.dir + "/store: the file system does not support symbolic links"
		if o.code != 1 || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, " isolation ") {
			t.Errorf("exit code %d; wanted 1 and %q alone:\n%s", o.code, want, o.stderr)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%s there, and %s on an overlay", digests[0], digests[1])
	}
}

func (w *way) unmount() error { return unmount(w.dir) }

func unmount(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) { // already
		return nil
	}
	return err
}

// likeDir gives a folder to the owner of another one, and its mode.
func likeDir(dir, other string) error {
	var st unix.Stat_t
	if err := unix.Stat(other, &st); err != nil {
		return err
	}
	return errors.Join(os.Chown(dir, int(st.Uid), int(st.Gid)), unix.Chmod(dir, st.Mode&0o7777))
}

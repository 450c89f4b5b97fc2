package isolation

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// place is a folder for stores that is not as others are.
type place struct {
	name string
	// ready makes the folder of a way, which belongs to it already, what it is.
	ready func(dir string) error
	// umask is what the program is started with; empty: ours.
	umask string
	// within is where the folder has to be; empty: among the temporary files.
	within string
	// on is the file system; nil: the one that is there.
	on fileSystem
	// refuses is the reason of the ways that cannot be there.
	refuses string
}

// places are what the folder that a store lies in can do to what is created there.
var places = []place{
	{name: "plain"},
	{name: "default-acl", ready: func(dir string) error { return tool("setfacl", "-d", "-m", "u:1234:rwx,g:55:rwx,o::rwx", dir) }},
	{name: "set-gid", ready: func(dir string) error {
		return errors.Join(os.Chown(dir, -1, otherGroup()), os.Chmod(dir, 0o770|os.ModeSetgid))
	}},
	{name: "umask", umask: "077"},
	{name: "no-umask", umask: "0"},
	{name: "tmpfs", within: "/dev/shm"},
	{name: "flags", ready: func(dir string) error { return tool("chattr", "+Ad", dir) }},
	{name: "odd : name, of=a\\folder"},
	{name: "overlay", on: onOverlay},
	{name: "no-attributes", on: onFUSEWithout, refuses: "open /dev/null of a step: permission denied|as an attribute: operation not supported"},
	{name: "fuse", on: onFUSE, refuses: "open /dev/null of a step: permission denied"},
}

func tool(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s: %w: %s", errors.ErrUnsupported, name, err, out)
	}
	return nil
}

// otherGroup is one that a file of ours can be given to, and is not ours if there is
// another one.
func otherGroup() int {
	groups, _ := os.Getgroups()
	if os.Getuid() == 0 {
		groups = []int{1}
	}
	i := slices.IndexFunc(groups, func(g int) bool { return g != os.Getgid() })
	if i < 0 {
		return os.Getgid()
	}
	return groups[i]
}

const machineCase = `FROM busybox
RUN mkdir /d && touch /d/f && echo x >/g && mkfifo /p && ln -s g /l && umask >/mask
WORKDIR /w/a
COPY f /x/y/
COPY sub /sub
COPY <<EOF /here/doc
text
EOF
RUN --mount=type=cache,target=/c mkdir /c/k && touch /c/k/f && cp -a /c/k /w && stat -c '%a %u:%g %n' /c /c/k /c/k/f / /d /w /w/a >/w/modes
RUN --mount=type=tmpfs,target=/t touch /t/f && cp -a /t/f /w/g && mkdir /w/z && touch /x/y/new && ln /g /g2 && chown 5:6 /sub/g
RUN chmod 2755 /d && chgrp 7 /d && mkdir /d/in && touch /d/in/f && stat -c '%a %u:%g %n' /d/in /d/in/f /sub/g >/d/modes
USER 1000:1000
RUN cat /etc/resolv.conf /etc/hosts >/dev/null
`

// TestB3B5NothingOfTheMachineReachesTheImage builds the same in stores of all kinds of
// folders, on every way that has commands, and wants one image.
func TestB3B5NothingOfTheMachineReachesTheImage(t *testing.T) {
	dir := openDir(t)
	base := filepath.Join(dir, "base")
	must(t, os.Mkdir(base, 0o755))
	writeBase(t, base)
	c := &buildCase{name: "machine", context: filepath.Join(dir, "machine")}
	must(t, writeFiles(c.context, map[string][]byte{
		"Dockerfile": []byte(machineCase), "f": []byte("f"), "sub/g": []byte("g"), "sub/deep/h": []byte("h"),
	}))
	plain := places[0].images(t, dir, base, c)
	for _, p := range places[1:] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			got := p.images(t, dir, base, c)
			for name, want := range plain {
				switch i, there := got[name]; {
				case !there && p.within == "":
					t.Errorf("%s is not possible here", name)
				case there && i.digest != want.digest:
					t.Errorf("%s: %s; in a plain folder it is %s\n%s", name, i.digest, want.digest, cmp.Diff(want.layers(), i.layers()))
				}
			}
		})
	}
}

// image is what came out on a way.
type image struct {
	digest string
	layers func() []string // for people
}

// images builds the case on each way that runs commands, and wants one image. Those
// that the place refuses, rightly, have that of the others.
func (p place) images(t *testing.T, dir, base string, c *buildCase) map[string]image {
	t.Helper()
	at := filepath.Join(dir, p.name)
	if p.within != "" {
		at = p.dir(t)
	}
	must(t, os.MkdirAll(at, 0o755))
	binary := ocibuild(t, at) // its own, to know its processes by
	all, err := ways(at)
	must(t, err)
	images := map[string]image{}
	var first image
	var refused []string
	for _, w := range all {
		if w.name == "none" || w.name == "pod" || w.runtime() || w.on != nil {
			continue
		}
		digest := p.build(t, w, c, binary, at, base)
		if digest == "" {
			if p.says(w.absent) {
				refused = append(refused, w.name)
			}
			continue
		}
		i := image{digest, func() []string { return strings.Split(w.layers(c), "\n") }}
		if first.digest == "" {
			first = i
		}
		if digest != first.digest {
			t.Errorf("%s: %s; the first was %s\n%s", w.name, digest, first.digest, cmp.Diff(first.layers(), i.layers()))
		}
		images[w.name] = i
	}
	for _, name := range refused {
		images[name] = first
	}
	return images
}

// says tells whether a reason is the one that there is for some ways.
func (p place) says(reason string) bool {
	return p.refuses != "" && regexp.MustCompile(p.refuses).MatchString(reason)
}

// dir makes the folder where it has to be.
func (p place) dir(t *testing.T) string {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(p.within, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skipf("SKIPPED: %s is no tmpfs", p.within)
	}
	at, err := os.MkdirTemp(p.within, "ocibuild-isolation-*")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(at) })
	must(t, os.Chmod(at, 0o755))
	return at
}

// build builds the case on a way whose store is in the place. Empty: it cannot be had.
func (p place) build(t *testing.T, w *way, c *buildCase, binary, at, base string) string {
	t.Helper()
	w.ready, w.on = p.ready, p.on
	if p.umask != "" {
		script := filepath.Join(at, "umask")
		must(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\numask %s\nexec '%s' \"$@\"\n", p.umask, binary), 0o755))
		must(t, os.Chmod(script, 0o755))
		binary = script
	}
	t.Cleanup(func() { w.leave(t) })
	err := w.open(binary, at, base)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	if w.absent != "" {
		return ""
	}
	t.Cleanup(func() { w.close(t) })
	o := w.build(c, "")
	if o.code != 0 {
		t.Errorf("%s: exit code %d\n%s", w.name, o.code, o.stderr)
	}
	return o.stdout
}

// layers tells what is in the layers of a case, for people.
func (w *way) layers(c *buildCase) string {
	o := w.run(nil, "save", c.name)
	text, err := listing([]byte(o.stdout), "", true)
	if err != nil {
		return err.Error()
	}
	return text
}

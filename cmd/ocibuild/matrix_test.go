package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// damaged is where things are damaged: a layout, a store that has been built in from
// it, and what came of it.
type damaged struct {
	t           *testing.T
	dir         string
	right       map[string]string // what each way out yields, by its name
	sound, work string            // the store before it is damaged, and a copy
}

// waysOut are commands that write "out"; $L is the layout.
var waysOut = map[string][]string{
	"oci":    {"build", "-t", "x:1", "-o", "type=oci,dest=out", "--build-context", "base=oci-layout://$L", "c"},
	"docker": {"build", "-t", "x:1", "-o", "type=docker,dest=out", "--build-context", "base=oci-layout://$L", "c"},
	"tar":    {"build", "-o", "type=tar,dest=out", "--build-context", "base=oci-layout://$L", "c"},
	"local":  {"build", "-o", "out", "--build-context", "base=oci-layout://$L", "c"},
	"more":   {"build", "-f", "c/more", "-o", "type=oci,dest=out", "--build-context", "base=oci-layout://$L", "c"},
}

func newDamaged(t *testing.T) *damaged {
	d := &damaged{t: t, dir: t.TempDir(), right: map[string]string{}}
	d.sound, d.work = filepath.Join(d.dir, "sound"), filepath.Join(d.dir, "work")
	noise := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, data := range map[string]string{
		"base/Dockerfile": "FROM scratch\nCOPY f /base\n", "base/f": string(noise),
		"c/Dockerfile": "FROM base\nCOPY f /f\n", "c/f": string(noise[50_000:]),
		"c/more": "FROM base\nCOPY f /f\nCOPY f /g\n",
	} {
		path := filepath.Join(d.dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(data), 0o644))
	}
	d.must(d.sound+"-base", "build", "-o", "type=oci,tar=false,dest=layout", "base")
	for way := range waysOut {
		d.must(d.sound, d.command(way, "layout")...)
		d.right[way] = d.content("out")
	}
	return d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *damaged) command(way, layout string) []string {
	check(d.t, os.RemoveAll(filepath.Join(d.dir, "out")))
	args := append([]string{}, waysOut[way]...)
	for n := range args {
		args[n] = strings.ReplaceAll(args[n], "$L", filepath.Join(d.dir, layout))
	}
	return args
}

// ocibuild runs this program as ocibuild. It may not take long: what is damaged is
// not waited for.
func (d *damaged) ocibuild(store string, args ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "OCIBUILD_TEST_MAIN=1", "OCIBUILD_STORE="+store, "SOURCE_DATE_EPOCH=1700000000", "DOCKER_CONFIG="+d.dir)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return buf.String(), err
}

func (d *damaged) must(store string, args ...string) {
	d.t.Helper()
	if said, err := d.ocibuild(store, args...); err != nil {
		d.t.Fatalf("%v: %v\n%s", args, err, said)
	}
}

// content is all that a file or folder holds.
func (d *damaged) content(name string) string {
	var all strings.Builder
	root := filepath.Join(d.dir, name)
	check(d.t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s\n%s\n", strings.TrimPrefix(path, root), data)
		return err
	}))
	return all.String()
}

// copyTo makes "work" or another folder a copy of one.
func (d *damaged) copyTo(from, to string) {
	check(d.t, os.RemoveAll(to))
	check(d.t, os.CopyFS(to, os.DirFS(from)))
}

// objects finds the files of a store or a layout by what they are.
func (d *damaged) objects(dir string) map[string][]string {
	all := map[string][]string{}
	for _, pattern := range []string{"index.json", "oci-layout", "keys/*/*", "toc/*", "blobs/sha256/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		check(d.t, err)
		for _, f := range files {
			data, err := os.ReadFile(f)
			check(d.t, err)
			kind, _, _ := strings.Cut(pattern, "/")
			var doc map[string]any
			switch {
			case kind != "blobs":
			case json.Unmarshal(data, &doc) != nil:
				kind = "layer"
			case doc["layers"] != nil:
				kind = "manifest"
			default:
				kind = "config"
			}
			all[kind] = append(all[kind], f)
		}
	}
	return all
}

// damages are the ways to damage a file; makeFIFO is there where there are any.
var damages = map[string]func(path string, data []byte) error{
	"flipped": func(path string, data []byte) error {
		data[len(data)/2] ^= 4
		return os.WriteFile(path, data, 0o600)
	},
	"cut":       func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)/2], 0o600) },
	"longer":    func(path string, data []byte) error { return os.WriteFile(path, append(data, 'x'), 0o600) },
	"empty":     func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
	"forbidden": func(path string, _ []byte) error { return os.Chmod(path, 0) },
	"folder": func(path string, _ []byte) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.MkdirAll(filepath.Join(path, "x"), 0o755)
	},
	"pipe": func(path string, _ []byte) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return makeFIFO(path)
	},
}

func (d *damaged) damage(how string, paths []string) {
	if how == "forbidden" && os.Getuid() == 0 {
		d.t.Skip("SKIPPED: root can read everything")
	}
	if runtime.GOOS == "windows" && how == "pipe" {
		d.t.Skip("SKIPPED: there are no such pipes")
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		check(d.t, err)
		check(d.t, damages[how](path, data))
	}
}

// What is damaged in the store is made again from the layout and the steps; what
// is said of it is one line for each file at most.
func TestA2A3DamageInTheStoreIsMended(t *testing.T) {
	d := newDamaged(t)
	warning := regexp.MustCompile(`(?m)^.*WARN: (.*) of the store is damaged`)
	for kind := range d.objects(d.sound) {
		for how := range damages {
			for way := range waysOut {
				t.Run(kind+"/"+how+"/"+way, func(t *testing.T) {
					d := *d
					d.t = t
					d.copyTo(d.sound, d.work)
					d.damage(how, d.objects(d.work)[kind])
					said, err := d.ocibuild(d.work, d.command(way, "layout")...)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					if d.content("out") != d.right[way] {
						t.Errorf("wrong output\n%s", said)
					}
					seen := map[string]bool{}
					for _, m := range warning.FindAllStringSubmatch(said, -1) {
						if seen[m[1]] {
							t.Errorf("said twice: %s", m[1])
						}
						seen[m[1]] = true
					}
				})
			}
		}
	}
}

// What is damaged in a layout itself is an error that names it.
func TestA3DamageInALayoutIsAnError(t *testing.T) {
	d := newDamaged(t)
	layout := filepath.Join(d.dir, "bad")
	for kind := range d.objects(filepath.Join(d.dir, "layout")) {
		for how := range damages {
			t.Run(kind+"/"+how, func(t *testing.T) {
				d := *d
				d.t = t
				d.copyTo(filepath.Join(d.dir, "layout"), layout)
				d.damage(how, d.objects(layout)[kind])
				check(t, os.RemoveAll(d.work))
				said, err := d.ocibuild(d.work, d.command("oci", "bad")...)
				if err == nil && d.content("out") == d.right["oci"] && (kind == "oci-layout" || kind == "index.json") {
					return // an index that is JSON still, or a marker that is not read
				}
				if err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%v\n%s", err, said)
				}
				if n := strings.Count(said, "ocibuild: "); n != 1 || !strings.Contains(said, layout) {
					t.Errorf("unclear: %s", said)
				}
			})
		}
	}
}

func TestA5AnIndexThatIsAnImageToo(t *testing.T) {
	d := newDamaged(t)
	path := filepath.Join(d.dir, "layout", "index.json")
	data, err := os.ReadFile(path)
	check(t, err)
	for _, more := range []string{`"layers":[],`, `"config":{},`} {
		check(t, os.WriteFile(path, []byte(strings.Replace(string(data), "{", "{"+more, 1)), 0o644))
		said, err := d.ocibuild(d.work, d.command("oci", "layout")...)
		if err == nil || !strings.Contains(said, "index.json is an image and an index at once") {
			t.Errorf("%v %s", err, said)
		}
	}
}

package binfmt

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: files have no mode there")
	}
	static := Program("amd64")
	dynamic := slices.Clone(static)
	dynamic[64] = 3 // the segment is the name of a loader
	first, second := t.TempDir(), t.TempDir()
	for name, f := range map[string]struct {
		data []byte
		mode os.FileMode
	}{
		first + "/qemu-aarch64":         {static, 0o755},
		second + "/qemu-aarch64-static": {static, 0o755},
		first + "/qemu-riscv64":         {dynamic, 0o755},
		second + "/qemu-riscv64-static": {static, 0o755},
		first + "/qemu-arm":             {dynamic, 0o755},
		first + "/qemu-arm-static":      {static, 0o644},
		first + "/qemu-s390x":           {[]byte("#!/bin/sh\n"), 0o755},
		first + "/qemu-mips64":          {nil, 0o755},
		first + "/qemu-vax":             {static, 0o755},
	} {
		if err := os.WriteFile(name, f.data, f.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(first+"/qemu-ppc64le", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(first))
	got := map[string]string{}
	path := strings.Join([]string{"", filepath.Base(second), "/nowhere", first, second}, string(filepath.ListSeparator))
	for _, e := range Find(path) {
		got[e.Arch] = e.File
	}
	want := map[string]string{"arm64": first + "/qemu-aarch64", "riscv64": second + "/qemu-riscv64-static"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The rule of arm64 as Debian's package registers it, but for the kind of system.
func TestRule(t *testing.T) {
	p := processors["arm64"]
	const want = `:qemu-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:` +
		`\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:`
	if got := p.rule("arm64"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUnknownArchitecture(t *testing.T) {
	if Program("vax") != nil || Name("vax") != "" {
		t.Error("a vax is known")
	}
}

package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHierarchies(t *testing.T) {
	const (
		v1 = "36 24 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
			"37 24 0:31 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n" +
			"38 24 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n" +
			"39 24 0:33 / /a\\040b rw - cgroup cgroup rw,pids\n" +
			"40 24 0:33 / /again rw - cgroup cgroup rw,pids\n" +
			"41 24 0:34 / /proc rw - proc proc rw\n"
		v2 = "42 24 0:35 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	type row struct {
		Mount, Own string
		Unified    bool
	}
	for name, c := range map[string]struct {
		groups, mounts string
		want           []row
	}{
		"v1": {"5:memory:/a/b\n4:cpu,cpuacct:/docker/abc/x\n3:name=systemd:/s\n2:pids:/p\n", v1, []row{
			{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b", false}, {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x", false},
			{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/s", false}, {"/a b", "/a b/p", false},
		}},
		"v2":                   {"0::/user.slice/s.scope\n", v2, []row{{"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/s.scope", true}}},
		"out of sight":         {"0::/../other\n", v2, []row{{"/sys/fs/cgroup", "", true}}},
		"another part mounted": {"4:cpu,cpuacct:/docker/abcd\n", strings.Split(v1, "\n")[1] + "\n", []row{{"/sys/fs/cgroup/cpu,cpuacct", "", false}}},
		"hybrid":               {"2:pids:/\n0::/h\n", strings.SplitAfter(v1, "\n")[3] + v2, []row{{"/a b", "/a b", false}, {"/sys/fs/cgroup", "/sys/fs/cgroup/h", true}}},
		"none":                 {"", "41 24 0:34 / /proc rw - proc proc rw\nshort line\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []row
			for _, h := range hierarchies(c.groups, c.mounts) {
				got = append(got, row{h.mount, h.own, h.unified})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	l := Limits{Memory: 64 << 20, MemorySwap: 96 << 20, Pids: 100, CPUShares: 1024, CPUPeriod: 50000, CPUQuota: 25000, CPUs: "0-1", MemNodes: "0"}
	var v1, v2 []string
	for _, s := range l.settings() {
		if !s.asked {
			t.Errorf("%s is not asked for", s.what)
		}
		v1, v2 = append(v1, s.v1.name+"="+s.v1.content), append(v2, s.v2.name+"="+s.v2.content)
	}
	wantV1 := []string{"memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296", "cpu.shares=1024", "cpu.cfs_period_us=50000",
		"cpu.cfs_quota_us=25000", "cpuset.cpus=0-1", "cpuset.mems=0", "pids.max=100"}
	wantV2 := []string{"memory.max=67108864", "memory.swap.max=33554432", "cpu.weight=39", "cpu.max=25000 50000", "cpu.max=25000 50000",
		"cpuset.cpus=0-1", "cpuset.mems=0", "pids.max=100"}
	if diff := cmp.Diff(wantV1, v1) + cmp.Diff(wantV2, v2); diff != "" {
		t.Error(diff)
	}
	none := Limits{MemorySwap: -1, Pids: -1}
	if s := none.settings(); len(s) != 1 || s[0].v1.content != "-1" || s[0].v2.content != "max" {
		t.Errorf("%+v", s)
	}
	if s := (&Limits{}).settings(); len(s) != 1 || s[0].asked || s[0].v1.content != fmt.Sprint(DefaultPids) {
		t.Errorf("%+v", s)
	}
	for _, l := range []Limits{{}, {Pids: -1}} {
		if l.asked() {
			t.Errorf("%+v asks for something", l)
		}
	}
	for _, l := range []Limits{{Pids: 20}, {Memory: 1}, {CPUs: "0"}, {Parent: "/x"}, {Memory: 1, Pids: -1}} {
		if !l.asked() {
			t.Errorf("%+v asks for nothing", l)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, l := range []Limits{{}, {Memory: MinMemory, MemorySwap: -1, Pids: -1}, {Memory: MinMemory, MemorySwap: MinMemory, Pids: MinPids, Parent: "/a/b"}} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, l := range []Limits{
		{Memory: 1}, {Memory: -1}, {MemorySwap: MinMemory}, {Memory: 2 * MinMemory, MemorySwap: MinMemory}, {MemorySwap: -2}, {Pids: 1}, {Pids: -2},
		{CPUQuota: -1}, {Parent: "a.slice:"}, {Parent: "/a/../b"}, {Parent: "a\nb"},
	} {
		if err := l.Validate(); err == nil {
			t.Errorf("%+v", l)
		}
	}
}

// groupOf runs a command in a group and returns the groups that it says it is in.
func groupOf(t *testing.T, l Limits) string {
	t.Helper()
	g, err := New(l)
	if err != nil {
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command("cat", "/proc/self/cgroup")
	cmd.Stdout = &out
	err = g.Start(func(fd int) error {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: fd >= 0, CgroupFD: max(fd, 0)}
		return cmd.Start()
	})
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile("/proc/thread-self/cgroup"); err != nil || string(after) != string(before) {
		t.Errorf("the thread was in\n%s and is in\n%s%v", before, after, err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("twice: %v", err)
	}
	return out.String()
}

func TestStartsInTheGroup(t *testing.T) {
	name := fmt.Sprintf("%s%d-", prefix, os.Getpid())
	for _, l := range []Limits{{Pids: 100}, {Memory: 64 << 20}, {Memory: 64 << 20, CPUQuota: 50000, CPUPeriod: 100000, CPUShares: 512}, {CPUs: "0"}} {
		if got := groupOf(t, l); !strings.Contains(got, "/"+name) {
			t.Errorf("%+v: it is in\n%s", l, got)
		}
	}
}

func TestParentIsMadeAndRemoved(t *testing.T) {
	name := fmt.Sprintf("ocibuild.test.%d", os.Getpid())
	got := groupOf(t, Limits{Parent: name + "/deep"})
	if !strings.Contains(got, "/"+name+"/deep/"+prefix) {
		t.Errorf("it is in\n%s", got)
	}
	for line := range strings.Lines(got) {
		if !strings.Contains(line, name) && !strings.Contains(line, ":name=") {
			t.Errorf("one hierarchy is left out: %s", line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		if left, _ := filepath.Glob(pattern); left != nil {
			t.Errorf("left: %v", left)
		}
	}
}

func TestNobodyAskedForAnything(t *testing.T) {
	g, err := New(Limits{Pids: -1})
	if g != nil || err != nil {
		t.Errorf("%v, %v", g, err)
	}
	started := false
	if err := g.Start(func(fd int) error { started = fd == -1; return nil }); err != nil || !started || g.Exceeded() != "" || g.Remove() != nil {
		t.Errorf("no group is not like one: %v", err)
	}
}

func TestUnescape(t *testing.T) {
	if got := unescape(`/a\040b\134c`); got != `/a b\c` {
		t.Errorf("%q", got)
	}
	if !contains([]string{"rw", "cpu", "cpuacct"}, []string{"cpuacct", "cpu"}) || contains([]string{"rw", "cpu"}, []string{"cpuacct"}) {
		t.Error("contains")
	}
}

package lsm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake is a machine with files in the place of the kernel's. Kernels with AppArmor
// or SELinux are rare where tests run, and neither can be turned on there: what
// the modules do with what is written is not tested by this.
func fake(t *testing.T, files map[string]string) machine {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return machine{attr: filepath.Join(dir, "attr"), sys: filepath.Join(dir, "sys")}
}

func TestAppArmor(t *testing.T) {
	for _, test := range []struct {
		name   string
		files  map[string]string
		attr   string
		reason string
	}{
		{"none", nil, "", "this kernel does without it"},
		{"new kernel", map[string]string{"attr/apparmor/current": "unconfined\n", "attr/apparmor/exec": ""}, "apparmor/exec", ""},
		{"confined", map[string]string{"attr/apparmor/current": "docker-default (enforce)\n", "attr/apparmor/exec": ""}, "", "it confines this program already: docker-default (enforce)"},
		{"without the profile", map[string]string{"attr/apparmor/current": "unconfined\n"}, "", "the profile docker-default is not loaded, as Docker does when it starts"},
		{"old kernel", map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n", "attr/current": "unconfined", "attr/exec": ""}, "exec", ""},
		{"old kernel, not enabled", map[string]string{"sys/module/apparmor/parameters/enabled": "N\n", "attr/current": "unconfined", "attr/exec": ""}, "", "this kernel does without it"},
		{"old kernel with another module", map[string]string{"attr/current": "unconfined_u:unconfined_r:unconfined_t:s0", "attr/exec": ""}, "", "this kernel does without it"},
	} {
		m := fake(t, test.files)
		got := m.appArmor()
		if got.Reason != test.reason || (got.Profile != nil) != (test.attr != "") {
			t.Errorf("%s: %+v, want %q", test.name, got, test.reason)
		}
		if got.Profile == nil {
			continue
		}
		said, err := os.ReadFile(filepath.Join(m.attr, test.attr))
		if err != nil || string(said) != "exec docker-default" || got.Profile.Attr != test.attr || got.Profile.Text != string(said) {
			t.Errorf("%s: it was told %q, %v; %+v", test.name, said, err, got.Profile)
		}
	}
}

func TestSELinux(t *testing.T) {
	with := func(current string) map[string]string {
		return map[string]string{"sys/fs/selinux/enforce": "1", "attr/current": current, "attr/exec": ""}
	}
	const free = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\x00"
	for _, test := range []struct {
		name   string
		files  map[string]string
		label  string
		reason string
	}{
		{"none", map[string]string{"attr/current": free, "attr/exec": ""}, fileLabel, "this kernel does without it"},
		{"labelled", with(free), fileLabel, ""},
		{"labelled by hand", with(free), "unconfined_u:object_r:container_file_t:s0", ""},
		{"not labelled", with(free), "unconfined_u:object_r:data_home_t:s0", "files of the store are of type data_home_t; chcon -R -t container_file_t on it"},
		{"no labels", with(free), "", "files of the store are of type none"},
		{"in a container", with("system_u:system_r:container_t:s0:c1,c2"), fileLabel, "it confines this program already: system_u:system_r:container_t"},
		{"without the policy", map[string]string{"sys/fs/selinux/enforce": "1", "attr/current": free}, fileLabel, "the policy has no container_t"},
	} {
		got := fake(t, test.files).seLinux(test.label)
		if !strings.HasPrefix(got.Reason, test.reason) || (got.Profile != nil) != (test.reason == "") {
			t.Errorf("%s: %+v, want %q", test.name, got, test.reason)
		}
		if p := got.Profile; p != nil && (p.Attr != "exec" || p.Text != "system_u:system_r:container_t:s0" || p.Files != fileLabel) {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

// Whatever this machine has, there is one profile or a reason.
func TestModulesOfThisMachine(t *testing.T) {
	for _, m := range Modules(t.TempDir()) {
		if (m.Profile == nil) != (m.Reason != "") {
			t.Errorf("%+v", m)
		}
		t.Logf("%s: %+v %s", m.Name, m.Profile, m.Reason)
	}
	// What was tried was not left to this thread: it is executed as before.
	if data, err := os.ReadFile("/proc/thread-self/attr/exec"); err == nil && len(data) > 0 {
		t.Errorf("this thread would execute as %q", data)
	}
}

func BenchmarkFirst(b *testing.B) {
	for b.Loop() {
		here.appArmor()
		here.seLinux("")
	}
}

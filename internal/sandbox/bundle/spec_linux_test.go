package bundle

import (
	"testing"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// What confines a step of the sandbox confines that of a runtime.
func TestProfileOfTheStep(t *testing.T) {
	for _, test := range []struct {
		profile                  *stage.Profile
		appArmor, process, files string
	}{
		{nil, "", "", ""},
		{&stage.Profile{Name: "docker-default", Attr: "apparmor/exec", Text: "exec docker-default"}, "docker-default", "", ""},
		{&stage.Profile{Name: "u:r:container_t:s0", Attr: "exec", Text: "u:r:container_t:s0", Files: "u:object_r:container_file_t:s0"}, "", "u:r:container_t:s0", "u:object_r:container_file_t:s0"},
	} {
		spec, _, err := translate(&stage.Config{Rootfs: "/image", Args: []string{"true"}, Cwd: "/", Profile: test.profile})
		if err != nil {
			t.Fatal(err)
		}
		if p := spec.Process; p.ApparmorProfile != test.appArmor || p.SelinuxLabel != test.process || spec.Linux.MountLabel != test.files {
			t.Errorf("%+v: AppArmor %q, SELinux %q and %q", test.profile, p.ApparmorProfile, p.SelinuxLabel, spec.Linux.MountLabel)
		}
		if spec.Process.NoNewPrivileges || spec.Hooks != nil || len(spec.Annotations) > 0 {
			t.Errorf("%+v", spec)
		}
	}
}

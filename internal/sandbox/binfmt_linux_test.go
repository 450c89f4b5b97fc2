package sandbox

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
)

// emulators are those of this machine, for processors that it is not.
func emulators(t *testing.T) []binfmt.Emulator {
	t.Helper()
	all := slices.DeleteFunc(binfmt.Find(os.Getenv("PATH")), func(e binfmt.Emulator) bool {
		return slices.Contains([]string{"386", "amd64", "arm", runtime.GOARCH}, e.Arch)
	})
	if len(all) == 0 {
		t.Skip("SKIPPED: needs emulators (package qemu-user-static)")
	}
	var release unix.Utsname
	must(t, unix.Uname(&release))
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 7 {
		t.Skip("SKIPPED: needs Linux 6.7")
	}
	return all
}

func TestProgramsOfOtherProcessors(t *testing.T) {
	all := emulators(t)
	im := newImage(t, func(lower string) {
		for _, e := range all {
			must(t, os.WriteFile(lower+"/bin/"+e.Arch, binfmt.Program(e.Arch), 0o755))
		}
	})
	for _, e := range all {
		before := im.run(Spec{Args: []string{e.Arch}})
		im.run(Spec{Args: []string{e.Arch}, Emulators: all}).ok(t)
		im.run(Spec{Args: []string{"sh", "-c", e.Arch}, Emulators: all, Network: NetworkNone}).ok(t)
		if after := im.run(Spec{Args: []string{e.Arch}}); after.code != before.code {
			t.Errorf("%s is registered for others, too: %d before, %d after", e.Arch, before.code, after.code)
		}
	}
	if changed := im.changed(); len(changed) > 0 {
		t.Errorf("changed: %v", changed)
	}
}

// Beside the programs it can run, a step with emulators is like any other.
func TestEmulatorsChangeNothingElse(t *testing.T) {
	all := emulators(t)
	im := newImage(t)
	const script = `id; pwd; cat /secret; ls /dev /proc/sys/fs/binfmt_misc; grep -E 'Cap|Seccomp|NoNew|Groups' /proc/self/status
		cat /proc/keys /proc/timer_list; ls /sys/firmware /proc/acpi; echo x > /proc/sys/kernel/hostname; ip link | grep -c mtu
		ls -ln /bin/busybox; stat -c '%u:%g %a %t' /dev/null; echo x > /dev/null; mount -t tmpfs x /tmp; unshare -U true; cat /proc/self/oom_score_adj`
	users := []string{"", "app", "7:8"}
	if m, _ := os.ReadFile("/proc/self/uid_map"); strings.HasSuffix(string(m), " 1\n") && !owners() {
		users = users[:1]
	}
	for _, user := range users {
		for _, network := range []Network{NetworkHost, NetworkNone} {
			s := etc("sh", "-c", script)
			s.User, s.Network, s.Cwd = user, network, "/etc"
			s.Mounts = []Mount{{Type: File, Target: "/secret", Data: []byte("hush\n"), Mode: 0o444}}
			plain := im.run(s)
			s.Emulators = all
			emulated := im.run(s)
			if plain.out != emulated.out || plain.code != emulated.code || !strings.Contains(plain.out, "hush\n") {
				t.Errorf("user %q, network %s: as ever\n%s\nwith emulators\n%s%v", user, network, plain.out, emulated.out, emulated.start)
			}
		}
	}
	s := Spec{Args: []string{"sh", "-c", "find /sys/fs/cgroup /sys/kernel/tracing /sys/kernel/debug -mindepth 1 | head"}, Emulators: all}
	if out := im.run(s).out; strings.Contains(out, "/sys/") {
		t.Errorf("what the host has mounted in /sys is seen:\n%s", out)
	}
}

func TestOwnersWithEmulators(t *testing.T) {
	all := emulators(t)
	needIDs(t)
	im := newImage(t)
	im.run(Spec{Args: []string{"sh", "-c", "touch /f && chown 1000:2000 /f && chmod 6755 /f"}, Emulators: all}).ok(t)
	var st unix.Stat_t
	must(t, unix.Stat(im.upper+"/f", &st))
	if uid, gid := ownerOf(t, im.upper+"/f"); uid != 1000 || gid != 2000 || st.Mode&0o7777 != 0o6755 {
		t.Errorf("%d:%d %o", uid, gid, st.Mode)
	}
}

// arm64 is a program for it, made of other instructions.
func arm64(code ...uint32) []byte {
	p := binfmt.Program("arm64")
	old := binary.LittleEndian.Uint64(p[96:]) // size of the segment, in the file and in memory
	p = p[:old-12]
	for _, c := range code {
		p = binary.LittleEndian.AppendUint32(p, c)
	}
	binary.LittleEndian.PutUint64(p[96:], uint64(len(p)))
	binary.LittleEndian.PutUint64(p[104:], uint64(len(p)))
	return p
}

// ofARM64 is its emulator, in a place that this user may write to.
func ofARM64(t *testing.T) binfmt.Emulator {
	t.Helper()
	all := emulators(t)
	i := slices.IndexFunc(all, func(e binfmt.Emulator) bool { return e.Arch == "arm64" })
	if i < 0 {
		t.Skip("SKIPPED: needs qemu-aarch64-static")
	}
	e := all[i]
	from, err := os.Open(e.File)
	must(t, err)
	defer from.Close()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	e.File = filepath.Join(dir, "emulator")
	to, err := os.OpenFile(e.File, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, err)
	must(t, to.Close())
	return e
}

// What a step can get hold of, it must not be able to change.
func TestEmulatorIsReadOnly(t *testing.T) {
	e := ofARM64(t)
	im := newImage(t, func(lower string) {
		must(t, os.WriteFile(lower+"/bin/forever", arm64(0x14000000), 0o755)) // b .
	})
	var st unix.Stat_t
	must(t, unix.Stat(e.File, &st))
	out := im.run(Spec{Emulators: []binfmt.Emulator{e}, Args: []string{"sh", "-c", fmt.Sprintf(
		`forever & for i in $(busybox seq 200); do test "$(stat -L -c %%i /proc/$!/exe 2>/dev/null)" = %d && break; sleep 0.05; done; echo x > /proc/$!/exe`, st.Ino)}})
	if !strings.Contains(out.out, "Read-only file system") {
		t.Errorf("writing to the emulator: %q, %v", out.out, out.start)
	}
}

// A set-user-ID program gets its rights, and a program its name.
func TestRightsAndNamesOfEmulatedPrograms(t *testing.T) {
	e := ofARM64(t)
	needIDs(t)
	im := newImage(t, func(lower string) {
		const call, number, exit = 0xd4000001, 0xd2800008, 93
		euid := arm64(number|175<<5, call, number|exit<<5, call)
		must(t, os.WriteFile(lower+"/bin/euid", euid, 0o755))
		chown(t, lower+"/bin/euid", 77, 77)
		must(t, unix.Chmod(lower+"/bin/euid", 0o4755))
		// The second letter of its first argument: x0 = argv[0][1].
		name := arm64(0xf94007e0, 0x39400400, number|exit<<5, call)
		must(t, os.WriteFile(lower+"/bin/name", name, 0o755))
	})
	emulators := []binfmt.Emulator{e}
	if r := im.run(Spec{Args: []string{"euid"}, User: "app", Emulators: emulators}); r.code != 77 {
		t.Errorf("effective user %d, %v", r.code, r.err)
	}
	if r := im.run(Spec{Args: []string{"sh", "-c", "exec -a aZ /bin/name"}, Emulators: emulators}); r.code != int('Z') {
		t.Errorf("its name has the letter %q, %v", rune(r.code), r.err)
	}
}

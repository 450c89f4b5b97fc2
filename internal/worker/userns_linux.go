package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// idRange is a line of /etc/subuid or /etc/subgid.
type idRange struct{ start, count int }

// startUserns starts the worker in a user namespace: root inside is the user
// outside, all other ids are the user's subordinate ones.
func startUserns(ctx context.Context, o Options) (*Client, error) {
	uids, err := mapping("newuidmap", "/etc/subuid", os.Getuid())
	if err != nil {
		return nil, err
	}
	gids, err := mapping("newgidmap", "/etc/subgid", os.Getgid())
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}
	// The child executes the binary before its ids are mapped, which would cost
	// it all capabilities but the ambient ones.
	last := lastCapability()
	for c := range last + 1 {
		attr.AmbientCaps = append(attr.AmbientCaps, uintptr(c))
	}
	p, c, err := spawn(o, attr)
	if err != nil {
		return nil, err
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	for _, args := range [][]string{uids, gids} {
		cmd := exec.CommandContext(ctx, args[0], append([]string{pid}, args[1:]...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			_ = p.kill()
			_ = c.u.Close()
			return nil, fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return greet(ctx, newClient(o, c, p), IsolationUserns)
}

func lastCapability() int {
	data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if n, aerr := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && aerr == nil {
		return n
	}
	return unix.CAP_LAST_CAP
}

// mapping returns the command that maps id to 0 and the ranges of a file to 1
// and up; the process id goes between its first words.
func mapping(tool, file string, id int) ([]string, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed (package uidmap, or shadow-utils)", tool)
	}
	names := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.Current(); err == nil {
		names = append(names, u.Username)
	}
	ranges, err := idRanges(file, names)
	if err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		name := names[len(names)-1]
		return nil, fmt.Errorf("%s has no range for %s; root can add one: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", file, name, name)
	}
	args := []string{path, "0", strconv.Itoa(id), "1"}
	inside := 1
	for _, r := range ranges {
		args = append(args, strconv.Itoa(inside), strconv.Itoa(r.start), strconv.Itoa(r.count))
		inside += r.count
	}
	return args, nil
}

// idRanges returns the ranges of a user, who may stand there by name or number.
func idRanges(file string, names []string) ([]idRange, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []idRange
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 {
			continue
		}
		for _, name := range names {
			start, err := strconv.Atoi(fields[1])
			count, err2 := strconv.Atoi(fields[2])
			if fields[0] == name && err == nil && err2 == nil && count > 0 {
				all = append(all, idRange{start, count})
				break
			}
		}
	}
	return all, nil
}

// usernsHint looks for the switches that turn user namespaces off.
func usernsHint(err error) string {
	for _, s := range []struct{ file, bad, hint string }{
		{"kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows user namespaces"},
		{"user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0; raise it to allow user namespaces"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this program with the rule userns, allows user namespaces"},
	} {
		data, rerr := os.ReadFile("/proc/sys/" + s.file)
		if rerr == nil && strings.TrimSpace(string(data)) == s.bad {
			return "; " + s.hint
		}
	}
	if errors.Is(err, unix.EPERM) {
		return "; user namespaces are not allowed here: in a container the seccomp profile must allow them, in a Kubernetes pod with securityContext.seccompProfile.type: Unconfined"
	}
	return ""
}

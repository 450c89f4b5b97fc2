package bundle

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
)

// environment is the runtime's own, which is no business of the step. Some look
// for programs that help them.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// id is the same for all steps: each has a directory of states of its own.
const id = "ocibuild"

// Bundle is a step that is ready for a runtime.
type Bundle struct{ state, log string }

// New writes the bundle of a step to dir, an empty directory of its own that the
// caller removes when the step is over, and tells the stage what to execute.
func New(r *Runtime, dir string, c *stage.Config) (*Bundle, error) {
	spec, hostSys, err := translate(c)
	if err != nil {
		return nil, err
	}
	if r.Name != runc && r.Name != runsc && !c.Insecure {
		if spec.Hooks, err = forbidDevices(c.Rootfs); err != nil {
			return nil, err
		}
	}
	if r.Name == runsc { // or it would mount memory over a folder that is empty or missing
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: stage.Tmp, Type: "bind", Source: path.Join(c.Rootfs, stage.Tmp), Options: []string{"rbind"}})
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	// It holds the environment of the step.
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return nil, err
	}
	b := &Bundle{state: filepath.Join(dir, "state"), log: filepath.Join(dir, "log")}
	log := b.log
	if r.Name == crun {
		log = "file:" + log // or a colon in it would mean something
	}
	args := []string{r.Path, "--root", b.state, "--log", log, "--log-format", "json"}
	c.Runtime = &stage.Runtime{HostSys: hostSys, Env: environment}
	// The step is in a group already, which is that of the runtime, too.
	switch r.Name {
	case crun:
		args = append(args, "--cgroup-manager=disabled")
		c.Runtime.HideUnified = hybrid()
	case runc:
		// There is no such switch. But as for an ordinary user it does without
		// groups that it cannot make.
		args = append(args, "--rootless=true")
		c.Runtime.FreezeGroups = true
	case runsc:
		// Of sockets there are only those of ssh mounts.
		args = append(args, "--ignore-cgroups", "--host-uds=open", "--network=host")
		if c.Loopback {
			args[len(args)-1] = "--network=none"
		}
		c.Runtime.NeedTmp = true
	}
	c.Runtime.Args = slices.Concat(args, []string{"run", "--bundle", dir, id})
	return b, nil
}

// hybrid tells whether the unified hierarchy is mounted beside those of single
// controllers, which crun refuses to work with, even if it is to do nothing.
func hybrid() bool {
	var st unix.Statfs_t
	return unix.Statfs(stage.UnifiedBeside, &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC
}

// Failure is why the runtime, which has ended with an exit code, did not run the
// command; "" when the code is the command's.
func (b *Bundle) Failure(code int) string {
	if _, err := os.Stat(b.state); err != nil {
		return cmp.Or(b.complaint(), "it has kept no state of the step, and so is no OCI runtime")
	}
	if code == 0 {
		return ""
	}
	return b.complaint()
}

// complaint is what the runtime has written to its log.
func (b *Bundle) complaint() string {
	f, err := os.Open(b.log)
	if err != nil {
		return "" // it writes none before there is something to tell
	}
	defer f.Close()
	var said []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil {
			said = append(said, lines.Text())
			continue
		}
		switch strings.ToLower(entry.Level) {
		case "error", "fatal", "panic":
			said = append(said, entry.Msg)
		}
	}
	return strings.Join(said, ": ")
}

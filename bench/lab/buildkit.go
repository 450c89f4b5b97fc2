package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const buildkitConfig = `root = %q
[worker.oci]
  enabled = true
  gc = false
  networkMode = "host"
  snapshotter = "overlayfs"
  binary = "runc"
[worker.containerd]
  enabled = false
[registry.%q]
  http = true
  insecure = true
`

// BuildKit is a running daemon and its client.
type BuildKit struct {
	lab    *Lab
	daemon *daemon
	socket string
}

// StartBuildKit starts a daemon that has no state yet.
func (l *Lab) StartBuildKit(ctx context.Context) (*BuildKit, error) {
	dir, err := l.Dir("buildkit")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "buildkitd.toml")
	text := fmt.Sprintf(buildkitConfig, filepath.Join(dir, "root"), l.Host())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	b := &BuildKit{lab: l, socket: "unix://" + filepath.Join(dir, "sock")}
	cmd := Command(ctx, l.buildkitd, "--config", config, "--addr", b.socket)
	// Its mounts go when it goes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if b.daemon, err = startDaemon(cmd); err != nil {
		return nil, err
	}
	err = b.daemon.waitFor(ctx, func() bool { return b.client(ctx, "debug", "workers").Run() == nil })
	if err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// Stop ends the daemon.
func (b *BuildKit) Stop() { b.daemon.stop() }

func (b *BuildKit) client(ctx context.Context, args ...string) *exec.Cmd {
	return Command(ctx, b.lab.buildctl, append([]string{"--addr", b.socket}, args...)...)
}

// Build builds the context into image. Push sends it to the registry;
// without, it stays in the daemon.
func (b *BuildKit) Build(ctx context.Context, dir, image string, push bool) (Usage, error) {
	output := fmt.Sprintf("type=image,name=%s,push=%t,registry.insecure=true", image, push)
	cmd := b.client(ctx, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
		"--local", "context="+dir, "--local", "dockerfile="+dir, "--output", output)
	b.settle()
	pid := b.daemon.cmd.Process.Pid
	forgetPeak(pid)
	before, err := cpuTime(pid)
	if err != nil {
		return Usage{}, err
	}
	u, err := b.lab.metered(func() (Usage, error) { return Measure(cmd) })
	if err != nil {
		return u, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return Usage{}, err
	}
	u.CPU += after - before
	u.Memory += peakMemory(pid)
	b.settle() // what it still does is not to disturb the next run
	return u, nil
}

// settle waits until the daemon does nothing.
func (b *BuildKit) settle() {
	pid := b.daemon.cmd.Process.Pid
	last, _ := cpuTime(pid)
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		now, _ := cpuTime(pid)
		if now-last < time.Millisecond {
			return
		}
		last = now
	}
}

// forgetPeak makes VmHWM start anew; without it the peak is that of all builds so far.
func forgetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// cpuTime is what a running process has used so far, with the children it has
// waited for. The kernel shows the latter in hundredths of a second only.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2
	var own unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &own); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; cutime and cstime are fields 16 and 17.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("CPU time of process %d: unexpected %q", pid, data)
	}
	var ticks int64
	for _, f := range fields[13:15] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(own.Nano()) + time.Duration(ticks)*10*time.Millisecond, nil
}

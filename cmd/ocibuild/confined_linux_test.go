package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/ocibuild/ocibuild/internal/sandbox/confined"
)

// inDocker runs a command as root of a container with Docker's defaults, perhaps
// without some of its capabilities: in-docker [-CAPABILITY…] COMMAND…
func inDocker() {
	var without []string
	args := os.Args[1:]
	for strings.HasPrefix(args[0], "-") {
		without, args = append(without, args[0][1:]), args[1:]
	}
	fmt.Fprintln(os.Stderr, "in-docker:", confined.Exec(without, args))
	os.Exit(125)
}

// pod makes a place like a strict Kubernetes pod: all files are read-only but for
// those on one volume, and the user is nobody that the system knows, has no home,
// and no rights.
const pod = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=1777 volume /mnt
mkdir /mnt/bin
cp "$(command -v ocibuild)" /mnt/bin/
cp -r "$0" /mnt/context
chmod -R go+rX /mnt/bin /mnt/context
mount -t tmpfs -o ro nothing /tmp
mount -o remount,ro,bind /
cd /mnt
exec setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs env -i PATH="/mnt/bin:$PATH" "$@"`

// inPod runs a command there, with variables of the environment before it. The
// volume is /mnt, and has a copy of the folder as context:
// in-pod FOLDER [NAME=VALUE…] COMMAND…
func inPod() {
	cmd := podCommand(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "in-pod:", err)
		os.Exit(1)
	}
}

func podCommand(folder string, args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"-m", "sh", "-c", pod, folder}, args...)...)
}

func canPod() error {
	dir, err := os.MkdirTemp("", "pod-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if out, err := podCommand(dir, "true").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

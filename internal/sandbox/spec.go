package sandbox

import (
	"os"

	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
)

// Spec says what to run and what it sees.
type Spec struct {
	// Rootfs is a mounted directory that becomes "/".
	Rootfs string
	// Args is the command; a name without a slash is looked for in the PATH
	// of Env, inside Rootfs.
	Args []string
	// Env is the whole environment. Entries without a name or without "=" are
	// dropped, and HOME is added from the image's /etc/passwd when missing.
	Env []string
	// Cwd is made, owned by the user, when missing. Empty means "/".
	Cwd string
	// User is as in an image: "", "name", "uid", "name:group", "uid:gid", ...
	// Names are looked up in Rootfs; see [LookupUser].
	User string
	// Hostname is the same on every machine by default: "ocibuild".
	Hostname string
	// Network is the host's by default.
	Network Network
	// ResolvConf and Hosts are shown, read-only, at /etc/resolv.conf and
	// /etc/hosts; nil leaves the image's file.
	ResolvConf, Hosts []byte
	// Mounts are made in order, after the ones every step has.
	Mounts []Mount
	// ReadOnlyRoot keeps the command from changing anything but its mounts.
	ReadOnlyRoot bool
	// Ulimits are limits of single processes, on top of those every step has.
	Ulimits []Ulimit
	// Limits are those of all processes of the step together.
	Limits cgroup.Limits
	// Interactive keeps the caller's session, so that the command can own the
	// terminal on its standard input. A build step gets a session of its own.
	Interactive bool
	// Emulators run the step's programs of other processors. They are registered
	// for this step alone, in a user namespace of its own in which all ids are
	// the caller's: files get the owners they are given, but device files cannot
	// be made. It takes Linux 6.7. Without emulators a program that is not for
	// this processor runs if the machine itself knows how.
	Emulators []binfmt.Emulator
	// Owners makes up for a user namespace that has one id only: the command has
	// all ids, and the owners that its files get stand in attributes of them, as
	// packages notify and owner tell.
	Owners bool
	// Chroot does without namespaces, and so without everything but a root of its
	// own, fewer capabilities and an end of all its processes: nothing is mounted,
	// Rootfs is not protected from the command, and it is no security boundary.
	// Rootfs holds already what the command is to find, Cwd included.
	Chroot bool
	// Hold is an open file that stays open for as long as a process of the step
	// with Chroot may live, even if this process does not.
	Hold *os.File `json:"-"`
	// Insecure leaves out the system call filter and the protection of /proc
	// and /sys, keeps all the caller's capabilities, whoever User is, and allows
	// devices: those of the image, and in /dev the ones for file systems,
	// virtual machines and network tunnels. A user namespace has no such devices.
	Insecure bool
	// Runtime runs the command in place of the sandbox's own first process; nil
	// for none. It can neither have Emulators or Owners nor be Interactive.
	Runtime *bundle.Runtime
	// RuntimeDir is an empty directory for what Runtime needs to know and
	// remember, which the caller removes after the step.
	RuntimeDir string
}

// Network is the network of a step.
type Network string

// An unknown network is an error, never the host's.
const (
	NetworkHost Network = "host" // also ""
	NetworkNone Network = "none" // a loopback device and nothing else
)

// MountType is the kind of a Mount.
type MountType string

// The kinds of mounts.
const (
	Bind  MountType = "bind"  // Source, a file or directory of the host
	Tmpfs MountType = "tmpfs" // an empty file system in memory
	File  MountType = "file"  // Data as a file in memory, never on disk
)

// Mount is one mount of a step. Target is resolved inside the root directory,
// and made for as long as the step runs when missing. It must not lead to "/",
// "/dev", or to anything in /proc or /sys. Set-user-ID bits and devices have no
// effect on any mount.
type Mount struct {
	Type     MountType
	Source   string // Bind: an absolute path that the caller has checked
	Target   string
	ReadOnly bool   // also for what is mounted below Source
	Size     int64  // Tmpfs: bytes; 0 means half of the memory
	Data     []byte // File
	Mode     uint32 // Tmpfs: 0 means 01777. File: 0 means 0400
	UID, GID int    // Tmpfs and File: the owner
}

// Stdio are the standard files of a step. A nil file is /dev/null.
type Stdio struct{ Stdin, Stdout, Stderr *os.File }

// ExecError tells why a command could not be executed, with the exit code that
// a shell gives for it: 127 not found, 126 not executable.
type ExecError struct {
	Text string
	Code int
}

func (e *ExecError) Error() string { return e.Text }

// Identity is a user of an image.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary ones
	Home     string
}

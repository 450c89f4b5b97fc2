package sandbox

import "os"

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
	// Hostname is constant by default ("ocibuild"), for steps that write it down.
	Hostname string
	// Network is the host's by default.
	Network Network
	// ResolvConf and Hosts are shown, read-only, at /etc/resolv.conf and
	// /etc/hosts; nil leaves the image's file.
	ResolvConf, Hosts []byte
	// Mounts are made in order, after the ones every step has.
	Mounts []Mount
	// ShmSize is the size of /dev/shm in bytes; 0 means 64 MiB.
	ShmSize int64
	// Interactive keeps the caller's session, so that the command can own the
	// terminal on its standard input. A build step gets a session of its own.
	Interactive bool
	// Insecure leaves out the system call filter and the protection of /proc
	// and /sys, and keeps all the caller's capabilities.
	Insecure bool
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

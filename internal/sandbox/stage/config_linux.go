package stage

// Name is argv[0] of the stage.
const Name = "ocibuild-sandbox"

// The pipes the stage is born with, beside the standard files.
const (
	configFD = 3 // a Config as JSON, until the end of the pipe
	reportFD = 4 // Reports as JSON; its end without a failure means the command runs
)

// The kinds of Mount.
const (
	Bind  = "bind"
	Tmpfs = "tmpfs"
	File  = "file"
)

// Config is what the stage is told. The other side has validated it.
type Config struct {
	Rootfs      string
	Args, Env   []string
	Cwd         string
	UID, GID    uint32
	Groups      []uint32
	Hostname    string
	Loopback    bool // bring up lo: the network namespace is new
	Interactive bool
	Insecure    bool
	ShmSize     int64
	Mounts      []Mount
	Seccomp     []byte // struct sock_filter, one after the other; empty means none
}

// Mount is one mount of the step beside the ones every step has.
type Mount struct {
	Kind     string
	Source   string
	Target   string
	ReadOnly bool
	Optional bool // a target that cannot carry it is left alone
	Size     int64
	Data     []byte
	Mode     uint32
	UID, GID int
}

// Report is one message of the stage.
type Report struct {
	Ready   bool     `json:",omitempty"` // execve is next: an end of the pipe now means it worked
	Stub    *Stub    `json:",omitempty"`
	Failure *Failure `json:",omitempty"`
}

// Stub is a file or directory that was made only to carry a mount.
type Stub struct {
	Parent    string // path inside the rootfs, free of symbolic links
	ParentDev uint64
	ParentIno uint64
	Name      string
	Dev, Ino  uint64
	Dir       bool
}

// Failure tells why the command does not run.
type Failure struct {
	Text string
	Code int // what a shell would exit with (126, 127); 0 when the sandbox itself is at fault
}

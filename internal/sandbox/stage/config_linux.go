package stage

// Name is argv[0] of the stage, and ChrootName of one that has no namespaces: it
// does not look at Mounts, Hostname, Loopback, ReadOnlyRoot, Emulators and Notify.
const (
	Name       = "ocibuild-sandbox"
	ChrootName = "ocibuild-chroot"
)

// The pipes the stage is born with, beside the standard files.
const (
	configFD = 3 // a Config as JSON, until the end of the pipe
	reportFD = 4 // Reports as JSON; its end without a failure means the command runs
	ownersFD = 5 // a socket to the supervisor of package notify, when there is one
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
	// ReadOnlyRoot holds for the root alone, not for what is mounted on it.
	ReadOnlyRoot bool
	Rlimits      []Rlimit
	Mounts       []Mount
	Emulators    []Emulator // needs a user namespace of the step's own
	Seccomp      []byte     // struct sock_filter, one after the other; empty means none
	// Notify is a second such filter, for a step that has one id only: of calls
	// that a supervisor answers. Owners then stand in attributes.
	Notify []byte
	// Proc is one for a step with a changed root: of calls on /proc that the reaper
	// answers.
	Proc []byte
	// Profile confines the command beyond all that; nil for none.
	Profile *Profile
	// Runtime runs the command in place of this program; nil for none.
	Runtime *Runtime
}

// Runtime is an OCI runtime that is told about the step by others.
type Runtime struct {
	Args, Env    []string // the first of Args is the path of the program
	HostSys      bool     // /sys is the host's, brought along by the stage
	HideUnified  bool     // of control groups, where it stands beside others
	FreezeGroups bool     // control groups cannot be made or changed
	NeedTmp      bool     // it mounts [Tmp], which has to be there
}

// Tmp is where some runtimes mount memory unless they are told to mount something.
const Tmp = "/tmp"

// Profile is one of a security module of the kernel.
type Profile struct {
	Name  string // for errors
	Attr  string // the file in /proc/thread-self/attr to write Text to
	Text  string
	Files string // label of file systems that are made for the step, "" for none
}

// Rlimit is a limit of setrlimit(2).
type Rlimit struct {
	Name       string // for errors
	Resource   int
	Soft, Hard uint64
}

// Emulator runs programs of another processor.
type Emulator struct {
	File string // on the host
	Rule string // the beginning of its registration, up to the interpreter
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

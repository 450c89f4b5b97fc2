package graph

// Op is one of *Image, *Local, *HTTP, *Git, *Exec, *File, *Merge and *Diff.
type Op interface {
	// Kind names the operation in keys and drawings.
	Kind() string
}

// Image is the root file system of an image.
type Image struct {
	Ref        string // full reference, with a digest if it is known
	LayerLimit int    // 0 means all layers
}

// Local is a directory of the machine that runs the build.
type Local struct {
	Name        string   // "context", or the name of a named context
	Include     []string // patterns; none means everything
	Exclude     []string // patterns of .dockerignore
	FollowPaths []string // hints only: what the graph will select
}

// Exec runs a command on its root mount and other mounts.
type Exec struct {
	Args, Env    []string
	Cwd, User    string
	Hostname     string
	ExtraHosts   []HostIP
	Network      Network
	Insecure     bool
	Mounts       []Mount
	SecretEnv    []SecretEnv
	Proxy        []string // "HTTP_PROXY=…", never in a key
	ValidExit    []int    // exit codes that are no failure; none means 0
	Ulimits      []Ulimit
	CgroupParent string
	Devices      []string // by CDI name, those that the command cannot do without
	// Resources are not part of the definition: they change no result.
	Resources Resources `json:"-"`
}

// Resources are limits of all processes of a command together; zero is none.
type Resources struct {
	Memory               int64 // bytes
	MemorySwap           int64 // bytes of memory and swap; -1 means no limit
	CPUShares, CPUPeriod uint64
	CPUQuota             int64
	CPUs, MemNodes       string // lists, such as "0-2,5"
}

// Network is what a command sees of the network.
type Network int

// The networks of a command.
const (
	NetworkDefault Network = iota
	NetworkHost
	NetworkNone
)

// HostIP is a line of /etc/hosts.
type HostIP struct{ Host, IP string }

// Ulimit is a resource limit of setrlimit(2).
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// SecretEnv is a secret shown as an environment variable.
type SecretEnv struct {
	ID, Name string
	Optional bool
}

// MountType tells what a Mount shows.
type MountType string

// The mount types of RUN --mount.
const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
	MountSSH    MountType = "ssh"
)

// Mount is one mount of an Exec. The mount at "/" is its root.
type Mount struct {
	Type     MountType
	Input    int    // index into the step's inputs; -1 is an empty directory
	Selector string // path inside the input
	Target   string
	ReadOnly bool
	Output   int // number of the output that holds what was written; -1 drops it
	// CacheID and Sharing ("shared", "private", "locked") belong to MountCache.
	CacheID, Sharing string
	Size             int64 // bytes of a MountTmpfs; 0 means no limit of its own
	// The rest belongs to MountSecret and MountSSH.
	ID       string
	UID, GID int
	Mode     uint32
	Optional bool
}

// File is a chain of actions on files.
type File struct{ Actions []Action }

// Action does one thing to the tree that it takes as input. Input and Source
// number first the step's inputs, then the results of the actions before; -1 is
// an empty tree.
type Action struct {
	Input  int
	Source int // where Copy takes its files from
	Output int // number of the step's output this is; -1 if only others use it
	Do     FileOp
}

// FileOp is one of *Copy, *Mkfile, *Mkdir, *Remove and *Symlink.
type FileOp interface{ fileOp() }

// Copy copies files of the action's Source.
type Copy struct {
	Src, Dest        string
	Owner            *Owner
	Mode             int    // -1 keeps the mode
	ModeStr          string // symbolic mode; wins over Mode
	FollowSymlink    bool
	DirContents      bool // a directory stands for what is in it
	Unpack           bool // unpack if it is a local archive
	CreateDestPath   bool
	Wildcard         bool
	AllowEmpty       bool  // a wildcard may match nothing
	Timestamp        int64 // nanoseconds since the epoch; -1 keeps the times
	Include, Exclude []string
	Required         []string
	ReplaceExisting  bool // a destination of another type is replaced
}

// Mkfile writes a file.
type Mkfile struct {
	Path      string
	Mode      int
	Data      []byte
	Owner     *Owner
	Timestamp int64
}

// Mkdir makes a directory.
type Mkdir struct {
	Path      string
	Mode      int
	Parents   bool
	Owner     *Owner
	Timestamp int64
}

// Remove removes files.
type Remove struct {
	Path          string
	AllowNotFound bool
	Wildcard      bool
}

// Symlink makes a symbolic link at New that says Old.
type Symlink struct {
	Old, New  string
	Owner     *Owner
	Timestamp int64
}

// Owner is who owns what an action makes.
type Owner struct{ User, Group *ID }

// ID is a user or group, by number or by name looked up in the tree Input.
type ID struct {
	Name  string // empty for a number
	Num   int
	Input int
}

// Merge lays its inputs over each other.
type Merge struct{}

// Diff is what the second input changes of the first; an index of -1 is an
// empty tree.
type Diff struct{ Lower, Upper int }

func (*Copy) fileOp()    {}
func (*Mkfile) fileOp()  {}
func (*Mkdir) fileOp()   {}
func (*Remove) fileOp()  {}
func (*Symlink) fileOp() {}

// Kind implements Op.
func (*Image) Kind() string { return "image" }

// Kind implements Op.
func (*Local) Kind() string { return "local" }

// Kind implements Op.
func (*Exec) Kind() string { return "exec" }

// Kind implements Op.
func (*File) Kind() string { return "file" }

// Kind implements Op.
func (*Merge) Kind() string { return "merge" }

// Kind implements Op.
func (*Diff) Kind() string { return "diff" }

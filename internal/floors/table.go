package floors

// module is the path in front of every package of the project.
const module = "github.com/ocibuild/ocibuild"

// room is a row of the table: a package, or with all set the package and everything beneath it.
type room struct {
	path  string
	all   bool
	floor int
}

// rooms is the table of floors, highest first.
var rooms = []room{
	{path: "cmd/ocibuild", all: true, floor: 6},
	{path: "examples", all: true, floor: 6},
	{path: "test/isolation", all: true, floor: 6},
	{path: "test/threats", all: true, floor: 6},
	{path: "builder/output", floor: 5},
	{path: "builder", floor: 4},
	{path: "internal/doctor", floor: 3},
	{path: "internal/frontend", floor: 3},
	{path: "internal/solve", floor: 3},
	{path: "internal/plan", floor: 2},
	{path: "internal/source", floor: 2},
	{path: "internal/source/git", floor: 2},
	{path: "internal/source/web", floor: 2},
	{path: "internal/worker", floor: 2},
	{path: "internal/faces", floor: 1},
	{path: "internal/graph", floor: 1},
	{path: "internal/sandbox", floor: 1},
	{path: "internal/sandbox/bundle", floor: 1},
	{path: "internal/sandbox/confined", floor: 1},
	{path: "internal/snapshot", floor: 1},
	{path: "internal/snapshot/kept", floor: 1},
	{path: "internal/source/local", floor: 1},
	{path: "internal/source/registry", floor: 1},
	{path: "internal/source/wait", floor: 0},
	{path: "layer/tree", floor: 1},
	{path: "cache/cachetest", floor: 1},
	{path: "cache/gha", floor: 1},
	{path: "cache/registry", floor: 1},
	{path: "cache/s3", floor: 1},
	{path: "cache", floor: 0},
	{path: "internal/busybox", floor: 0},
	{path: "internal/filelock", floor: 0},
	{path: "internal/failure", floor: 0},
	{path: "internal/floors", floor: 0},
	{path: "internal/forward", floor: 0},
	{path: "internal/inroot", floor: 0},
	{path: "internal/owner", floor: 0},
	{path: "internal/ports", floor: 0},
	{path: "internal/progress", floor: 0},
	{path: "internal/sandbox/lsm", floor: 0},
	{path: "internal/sandbox/notify", floor: 0},
	{path: "internal/sandbox/cgroup", floor: 0},
	{path: "internal/sandbox/binfmt", floor: 0},
	{path: "internal/sandbox/reaper", floor: 0},
	{path: "internal/sandbox/seccomp", floor: 0},
	{path: "internal/sandbox/stage", floor: 0},
	{path: "layer", floor: 0},
	{path: "layer/inflate", floor: 0},
}

// neighbours are the imports within one floor that are meant, from → to.
var neighbours = map[[2]string]bool{
	{"cache", "internal/filelock"}:                  true, // a store is shared by processes
	{"layer", "layer/inflate"}:                      true, // gzip is what most layers are packed with
	{"internal/snapshot", "layer/tree"}:             true, // a snapshot is mounted over trees
	{"internal/snapshot/kept", "internal/snapshot"}: true, // the same layers, without mounts
	{"internal/snapshot/kept", "layer/tree"}:        true, // likewise

	{"internal/sandbox", "internal/sandbox/bundle"}:        true, // a step that another program runs
	{"internal/sandbox/notify", "internal/owner"}:          true, // owners that stand in attributes
	{"internal/sandbox/reaper", "internal/sandbox/stage"}:  true, // what the two say to each other
	{"internal/sandbox/reaper", "internal/sandbox/notify"}: true, // the reaper answers calls on /proc
	{"internal/sandbox/stage", "internal/inroot"}:          true, // an image's paths are looked up while it is furnished
	{"internal/sandbox/stage", "internal/owner"}:           true, // owners that stand in attributes
	{"internal/sandbox/stage", "internal/sandbox/notify"}:  true, // the stage installs the filter of calls that are answered
}

// bans keep a foreign module out of packages that have to stay small, or within the one package that is about it.
var bans = []ban{
	{module: "github.com/moby/buildkit", from: "layer", why: "layer is a library of its own and knows no BuildKit"},
	{module: "github.com/moby/buildkit", from: "cache", why: "cache is a library of its own and knows no BuildKit"},
	{module: "github.com/minio/minio-go", only: "cache/s3", why: "a cloud's library lives alone in its package"},
}

// ban forbids a module in one package and what is beneath it (from), or everywhere but there (only).
type ban struct {
	module, from, only, why string
}

// calls are those that packages leave to the one which is about them.
var calls = []call{
	{text: "unix.Openat2(", only: []string{"internal/inroot", "internal/sandbox/notify"}, why: "paths inside a tree are looked up by internal/inroot, whose rules are tested"},
}

// call forbids a call, by the text of it, everywhere but in some packages.
type call struct {
	text string
	only []string
	why  string
}

// vague are names of packages that say nothing of what is inside.
var vague = []string{"util", "utils", "common", "types", "helpers", "helper", "misc", "shared"}

// maxLines is how long a file may be, tests excepted: a longer one is two rooms.
const maxLines = 400

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Bundle is what runc runs: one program, with the namespaces that a build step has.
type Bundle struct {
	lab  *Lab
	dir  string
	runs int
}

// NewBundle makes a bundle that runs /bin/true of a busybox. It is runc's own
// proposal, but for the network, which is the host's, as it is that of steps; and
// it has no filter of system calls, as steps have.
func (l *Lab) NewBundle(ctx context.Context) (*Bundle, error) {
	dir, err := l.Dir("bundle")
	if err != nil {
		return nil, err
	}
	busybox, err := staticBusybox()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(bin, "true"), busybox, 0o755); err != nil {
		return nil, err
	}
	if _, err := Measure(Command(ctx, "runc", "spec", "--bundle", dir)); err != nil {
		return nil, err
	}
	return &Bundle{lab: l, dir: dir}, editSpec(filepath.Join(dir, "config.json"))
}

func editSpec(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	process, _ := spec["process"].(map[string]any)
	linux, _ := spec["linux"].(map[string]any)
	spaces, _ := linux["namespaces"].([]any)
	if process == nil || len(spaces) == 0 {
		return fmt.Errorf("%s: no process, or no namespaces", path)
	}
	process["args"], process["terminal"] = []string{"/bin/true"}, false
	linux["namespaces"] = slices.DeleteFunc(spaces, func(s any) bool {
		m, _ := s.(map[string]any)
		return m["type"] == "network"
	})
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// Run runs the program once.
func (b *Bundle) Run(ctx context.Context) (Usage, error) {
	b.runs++
	id := fmt.Sprintf("ocibuild-bench-%d-%d", os.Getpid(), b.runs)
	return Measure(Command(ctx, "runc", "--root", filepath.Join(b.lab.dir, "runc"), "run", "--bundle", b.dir, id))
}

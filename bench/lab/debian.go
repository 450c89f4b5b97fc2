package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Debian makes build contexts of a Debian that the project's own scripts make, or
// have made, of packages; flags are what lets a RUN reach the mirror as this
// machine does.
func (l *Lab) Debian(ctx context.Context) (dir string, flags []string, err error) {
	if dir, err = l.Context("debian", map[string]string{"Dockerfile": "FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"}); err != nil {
		return "", nil, err
	}
	examples, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}/examples", "github.com/ocibuild/ocibuild")
	if err != nil {
		return "", nil, err
	}
	bases := os.Getenv("OCIBUILD_BASES")
	if bases == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", nil, err
		}
		bases = filepath.Join(cache, "ocibuild-bases")
	}
	if _, err := output(ctx, "env", "OCIBUILD=", "OCIBUILD_BASES="+bases, examples+"/bases/make.sh", "debian"); err != nil {
		return "", nil, err
	}
	if _, err := output(ctx, "cp", filepath.Join(bases, "debian", "rootfs.tar"), dir); err != nil {
		return "", nil, err
	}
	settings, err := l.Dir("settings")
	if err != nil {
		return "", nil, err
	}
	said, err := output(ctx, examples+"/machine-flags.sh", settings, "apt")
	return dir, strings.FieldsFunc(said, func(r rune) bool { return r == '\n' }), err
}

// output is what a command prints, without spaces around it.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}

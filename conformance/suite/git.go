package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// gitEnv is an environment in which the same files give the same commit on
// every machine.
func gitEnv() []string {
	const who, when = "conformance", "1577934245 +0000"
	return append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_AUTHOR_NAME="+who, "GIT_AUTHOR_EMAIL="+who+"@test", "GIT_AUTHOR_DATE="+when,
		"GIT_COMMITTER_NAME="+who, "GIT_COMMITTER_EMAIL="+who+"@test", "GIT_COMMITTER_DATE="+when)
}

// git runs git in a repository of a case.
func git(dir string, a []string) error {
	cmd := exec.CommandContext(context.Background(), "git", a[1:]...) // a moment, on this machine
	cmd.Dir, cmd.Env = filepath.Join(dir, a[0]), gitEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

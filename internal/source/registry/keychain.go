package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocibuild/ocibuild/cache"
)

// userKeychain finds the credentials that docker and podman have.
type userKeychain struct{}

// Resolve implements authn.Keychain.
func (k userKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain.
func (userKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if err := checkFiles(); err != nil {
		return nil, err
	}
	if err := checkHelpers(); err != nil {
		return nil, err
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, target)
	if err != nil {
		return nil, withoutOutput(err)
	}
	return auth, nil
}

// checkFiles refuses a file of credentials that is a pipe or a device: to open it
// might wait for ever.
func checkFiles() error {
	files := []string{os.Getenv("REGISTRY_AUTH_FILE")}
	if dir := dockerConfig(); dir != "" {
		files = append(files, filepath.Join(dir, "config.json"))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && !fi.Mode().IsRegular() && !fi.IsDir() {
			return fmt.Errorf("%s: %w", f, cache.ErrNotRegular)
		}
	}
	return nil
}

// dockerConfig is the folder of docker's configuration, or empty.
func dockerConfig() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker")
}

var helperName = regexp.MustCompile(`^[0-9A-Za-z._-]*$`)

// checkHelpers refuses the name of a credential helper that is a path: it would
// lead to a program in, or beside, the directory in which a build was called.
func checkHelpers() error {
	dir := dockerConfig()
	data, err := cache.ReadRegular(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil // who looks for credentials there tells
	}
	var config struct {
		CredsStore  string
		CredHelpers map[string]string
	}
	if json.Unmarshal(data, &config) != nil {
		return nil // likewise
	}
	names := []string{config.CredsStore}
	for _, name := range config.CredHelpers {
		names = append(names, name)
	}
	for _, name := range names {
		if !helperName.MatchString(name) {
			return fmt.Errorf("%s: %q is no name of a credential helper", filepath.Join(dir, "config.json"), name)
		}
	}
	return nil
}

// withoutOutput drops what a credential helper printed before it failed, which
// may be the credential.
func withoutOutput(err error) error {
	msg, _, found := strings.Cut(err.Error(), ", out: ")
	if !found {
		return err
	}
	return errors.New(msg)
}

//go:build unix

package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestD3EachClientsConfigurationIsShown wants the user's own files at the places
// where the clients look for them in a RUN.
func TestD3EachClientsConfigurationIsShown(t *testing.T) {
	home := t.TempDir()
	wants := map[string]map[string]string{ // by client: file of the home, place in the RUN
		"cargo":    {".cargo/config.toml": "/.cargo/config.toml", ".cargo/credentials.toml": "/root/.cargo/credentials.toml"},
		"maven":    {".m2/settings.xml": "/root/.m2/settings.xml"},
		"gradle":   {".gradle/init.d/site.gradle": "/root/.gradle/init.d/site.gradle"},
		"gem":      {".gemrc": "/root/.gemrc", ".bundle/config": "/root/.bundle/config"},
		"composer": {".config/composer/auth.json": "/root/.composer/auth.json"},
		"npm":      {".npmrc": "/root/.npmrc"},
		"apk":      {},
	}
	for _, files := range wants {
		for file := range files {
			path := filepath.Join(home, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	real, err := filepath.EvalSymlinks(home)
	if err != nil {
		t.Fatal(err)
	}
	for client, files := range wants {
		cmd := exec.Command("./machine-flags.sh", t.TempDir(), client)
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", client, err, out)
		}
		flags := strings.Split(string(out), "\n")
		for file, place := range files {
			if want := "--volume=" + filepath.Join(real, file) + ":" + place + ":ro"; !slices.Contains(flags, want) {
				t.Errorf("%s: no %s in\n%s", client, want, out)
			}
		}
	}
}

// TestD3JavasCertificatesAreShown wants what the machine's Java trusts to be named to
// Maven and Gradle, beside what they are configured with.
func TestD3JavasCertificatesAreShown(t *testing.T) {
	home := t.TempDir()
	store := filepath.Join(home, "lib/security/cacerts")
	for path, text := range map[string]string{store: "x", filepath.Join(home, ".gradle/gradle.properties"): "org.gradle.daemon=false"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command("./machine-flags.sh", dir, "maven", "gradle")
	cmd.Env = []string{"HOME=" + home, "JAVA_HOME=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, line := range map[string]string{
		"mavenrc":           `MAVEN_OPTS="${MAVEN_OPTS:-} -Djavax.net.ssl.trustStore=/root/.m2/machine-cacerts"`,
		"gradle.properties": "org.gradle.daemon=false\nsystemProp.javax.net.ssl.trustStore=/root/.gradle/machine-cacerts",
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(data), line+"\n") {
			t.Errorf("%s: %q, %v", file, data, err)
		}
		if place := "/" + file + ":/root/."; !strings.Contains(string(out), place) {
			t.Errorf("no %s in\n%s", place, out)
		}
	}
	for _, place := range []string{":/root/.m2/machine-cacerts:ro\n", ":/root/.gradle/machine-cacerts:ro\n"} {
		if !strings.Contains(string(out), place) {
			t.Errorf("no %s in\n%s", place, out)
		}
	}
}

func TestD3GosProxyIsShown(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: go is not on PATH")
	}
	dir := t.TempDir()
	cmd := exec.Command("./machine-flags.sh", dir, "go")
	cmd.Env = append(os.Environ(), "GOPROXY=https://goproxy.example")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/go.env:/root/.config/go/env:ro") {
		t.Fatalf("%v\n%s", err, out)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "go.env")); err != nil || !strings.Contains(string(data), "GOPROXY=https://goproxy.example\n") {
		t.Errorf("%q, %v", data, err)
	}
}

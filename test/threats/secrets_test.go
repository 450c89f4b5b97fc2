//go:build linux

package threats

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nowhere wants values to be in no file below dir: as they are, in base64 or in
// hex, also within what gzip packed.
func (p *place) nowhere(dir string, values ...string) {
	p.t.Helper()
	var forms []string
	for _, v := range values {
		forms = append(forms, v, hex.EncodeToString([]byte(v)))
		for cut := range 3 { // base64 depends on where it begins
			if len(v) > cut+3 {
				whole := v[cut:]
				forms = append(forms, base64.RawStdEncoding.EncodeToString([]byte(whole[:len(whole)/3*3])))
			}
		}
	}
	must(p.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) && d.Name() == "work" {
			return fs.SkipDir // an overlay's own, which is empty
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			plain, _ := io.ReadAll(z) // what there is of it
			data = append(data, plain...)
		}
		for _, f := range forms {
			if strings.Contains(string(data), f) {
				p.t.Errorf("%s holds %q", path, f)
			}
		}
		return nil
	}))
}

// TestX06SecretsOnEveryRung: a step has them as a file and as a variable, and
// prints them whole, in pieces, line by line, and as an error.
func TestX06SecretsOnEveryRung(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	lines := []string{"E1-" + secret + "-first line", "E2-" + secret + "-second line"}
	out := filepath.Join(p.dir, "out")
	must(t, os.MkdirAll(out, 0o755))
	file := filepath.Join(out, "value")
	p.write("Dockerfile", "FROM "+p.hub.base()+`
RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s,target=/made/for/it,uid=1000 <<'END'
set -eux
test "$(stat -c %a:%u /made/for/it)" = 400:1000
test "$(cat /run/secrets/s)" = "$(printf %s "$TOKEN")"
cat /run/secrets/s
echo "$TOKEN" >&2
tail -1 /run/secrets/s
head -1 /run/secrets/s
head -c 20 /run/secrets/s; sleep 0.1; tail -c +21 /run/secrets/s
ulimit -c | grep -x 0
END
RUN test ! -e /run/secrets && test ! -e /made && test -z "$TOKEN"
RUN --mount=type=secret,id=s cat /run/secrets/s; echo the end; exit 3
`)
	for _, target := range []string{"--progress=plain", "--progress=rawjson"} {
		must(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		o := p.call("build", "--no-cache", target, "--secret", "id=s,src="+file, "--metadata-file", filepath.Join(out, "meta"), ".")
		p.fails(o, 1, "exit code 3")
		if all := o.decoded(); strings.Contains(all, secret) || !strings.Contains(all, "***") || !strings.Contains(all, "the end") {
			t.Errorf("the output shows it, or does not hide it: %s", all)
		}
		p.write("Good", strings.Replace(p.dockerfile(), "exit 3", "exit 0", 1))
		o = p.call("build", "-f", "Good", target, "--secret", "id=s,src="+file, "--metadata-file", filepath.Join(out, "meta"), "-o", "type=oci,tar=false,dest="+filepath.Join(out, "image"), "-t", "mine", "-o", "type=image", ".")
		if all := o.decoded(); o.code != 0 || strings.Contains(all, secret) {
			t.Errorf("%d %s", o.code, all)
		}
		must(t, os.Remove(file))
		p.nowhere(out, lines...)
		p.nowhere(p.store, lines...)
	}
}

// decoded is all that was said, also by --progress=rawjson, which packs what
// steps print in base64.
func (o outcome) decoded() string {
	all := o.stdout + o.stderr
	for line := range strings.Lines(o.stderr) {
		var said struct{ Logs []struct{ Data []byte } }
		if json.Unmarshal([]byte(line), &said) == nil {
			for _, l := range said.Logs {
				all += string(l.Data)
			}
		}
	}
	return all
}

// dockerfile is the one of the context.
func (p *place) dockerfile() string {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.context, "Dockerfile"))
	must(p.t, err)
	return string(data)
}

// TestX06NothingInCoreDumps: a builder that crashes while it has a secret leaves
// no image of its memory.
func TestX06NothingInCoreDumps(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.HasPrefix(string(pattern), "|") {
		t.Skipf("SKIPPED: needs a machine that writes core dumps to files: %s, %v", pattern, err)
	}
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN --mount=type=secret,id=s echo run''ning; sleep 60\n")
	p.write("value", "C1-"+secret)
	cmd := p.command("build", "--progress", "plain", "--secret", "id=s,src=value", ".")
	cmd.Args = append([]string{"sh", "-c", `ulimit -c unlimited; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "GOTRACEBACK=crash")
	p.until(cmd, "running")
	must(t, os.Remove(filepath.Join(p.context, "value")))
	must(t, cmd.Process.Signal(syscall.SIGABRT))
	_ = cmd.Wait() // it has crashed
	p.gone()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump() {
		t.Error("it dumps core")
	}
	p.nowhere(p.context, secret)
	p.accepted("FROM scratch\nLABEL a=b\n") // which sweeps
}

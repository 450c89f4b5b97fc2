package isolation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	copies = "FROM scratch AS stage\nCOPY f /a/f\nFROM scratch\nCOPY --from=stage --chown=5:6 /a /b\nADD f /owned\nWORKDIR /w\n"
	runs   = "FROM scratch\nCOPY f /f\nRUN [\"/f\"]\n"
)

// pod is the strictest place there is: files are read-only but for one folder, a
// user that nobody knows, no home, no rights, and Docker's filter of calls.
type pod struct {
	t       *testing.T
	way     way
	context string
}

func newPod(t *testing.T) *pod {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root, to have rights that can be given up")
	}
	dir := openDir(t)
	p := &pod{t: t, context: filepath.Join(dir, "context")}
	p.way = way{binary: ocibuild(t, dir), dir: filepath.Join(dir, "volume")}
	must(t, os.Mkdir(p.way.dir, 0o755))
	must(t, os.Chown(p.way.dir, nobodyID, nobodyID))
	p.way.world = world{Docker: true, Writable: p.way.dir, User: nobody, Bare: true}
	files := map[string][]byte{"Dockerfile": []byte(copies), "run.Dockerfile": []byte(runs), "f": []byte("content\n")}
	must(t, writeFiles(p.context, files))
	return p
}

// works wants a call to succeed and the file it writes to be there, and of the user.
func (p *pod) works(file string, env []string, args ...string) {
	p.t.Helper()
	if o := p.way.run(env, args...); o.code != 0 {
		p.t.Errorf("%s: exit code %d\n%s", strings.Join(args, " "), o.code, o.stderr)
		return
	}
	if _, err := os.Stat(filepath.Join(p.way.dir, file)); err != nil {
		p.t.Error(err)
	}
}

// refused wants a call to end with an exit code and a last line that begins and goes on like this.
func (p *pod) refused(code int, words string, env []string, args ...string) {
	p.t.Helper()
	o := p.way.run(env, args...)
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	if last := lines[len(lines)-1]; o.code != code || !strings.HasPrefix(last, "ocibuild: ") || !strings.Contains(o.stderr, words) {
		p.t.Errorf("%s: exit code %d, wanted %d and %q\n%s", strings.Join(args, " "), o.code, code, words, o.stderr)
	}
	if strings.Contains(o.stderr, "goroutine ") {
		p.t.Error("it panics")
	}
}

// Outputs of each kind go to the one folder that can be written to.
func TestPodWritesToItsVolume(t *testing.T) {
	p := newPod(t)
	volume := p.way.dir
	for _, isolation := range [][]string{nil, {"--isolation", "none"}} {
		build := append([]string{"build", "-q", p.context}, isolation...)
		p.works("oci.tar", nil, append(build, "-o", "type=oci,dest="+volume+"/oci.tar")...)
		p.works("docker.tar", nil, append(build, "-t", "x", "-o", "type=docker,dest="+volume+"/docker.tar")...)
		p.works("layout/index.json", nil, append(build, "-o", "type=oci,tar=false,dest="+volume+"/layout")...)
		p.works("files.tar", nil, append(build, "-o", "type=tar,dest="+volume+"/files.tar")...)
		p.works("files/b/f", nil, append(build, "-o", volume+"/files")...)
		must(t, os.RemoveAll(filepath.Join(volume, "layout")))
		must(t, os.RemoveAll(filepath.Join(volume, "files")))
	}
	// Where only the folder for temporary files is told, the store is there.
	must(t, os.Mkdir(filepath.Join(volume, "tmp"), 0o777))
	must(t, os.Chown(filepath.Join(volume, "tmp"), nobodyID, nobodyID))
	p.works("again.tar", []string{"OCIBUILD_STORE=", "TMPDIR=" + volume + "/tmp"}, "build", "-q", "-o", "type=oci,dest="+volume+"/again.tar", p.context)
}

// What cannot be done there is said with its reason, and nothing is half done.
func TestPodRefuses(t *testing.T) {
	p := newPod(t)
	dockerfile := []string{"build", "-q", "-f", filepath.Join(p.context, "run.Dockerfile"), p.context}
	p.refused(1, "run.Dockerfile:3: no way to run build steps: isolation userns: ", nil, dockerfile...)
	p.refused(1, "in a Kubernetes pod with securityContext.seccompProfile.type: Unconfined", nil, dockerfile...)
	p.refused(1, "run.Dockerfile:3: isolation none runs no commands, and this is a RUN", nil, append(dockerfile, "--isolation", "none")...)
	p.refused(1, "read-only file system", nil, "build", "-q", "-o", "type=oci,dest="+p.context+"/x.tar", p.context)
	p.refused(1, "no place for the store: ", []string{"OCIBUILD_STORE="}, "build", "-q", "-o", "type=oci,dest="+p.way.dir+"/x.tar", p.context)
	if _, err := os.Stat(filepath.Join(p.way.dir, "x.tar")); !os.IsNotExist(err) {
		t.Errorf("x.tar: %v", err)
	}
	// Not one folder can be written to.
	p.way.world.Sealed = true
	p.refused(1, "no place for the store: ", []string{"OCIBUILD_STORE="}, "build", "-q", p.context)
	p.refused(1, "read-only file system", nil, "build", "-q", p.context)
}

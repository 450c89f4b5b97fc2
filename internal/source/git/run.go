package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// call is the circumstances of one run of git.
type call struct {
	gitDir, workTree string // empty: outside of any repository
	remote           bool   // it speaks to the remote, and may need credentials
	local            bool   // it reads the store's own repository as a remote
}

// configuration is all the configuration that git gets. It is handed over in the
// environment, which, unlike arguments, other users cannot see.
var configuration = [][2]string{
	{"core.hooksPath", os.DevNull},
	{"core.fsmonitor", "false"},
	{"core.attributesFile", os.DevNull},
	{"core.excludesFile", os.DevNull},
	{"core.protectHFS", "true"},
	{"core.protectNTFS", "true"},
	{"credential.helper", ""},
	{"submodule.recurse", "false"},
	{"transfer.fsckObjects", "true"},
	// Old tools made many of these, and they do no harm.
	{"fetch.fsck.zeroPaddedFilemode", "ignore"},
	{"fetch.fsck.missingSpaceBeforeDate", "ignore"},
	{"fetch.fsck.badTimezone", "ignore"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"advice.detachedHead", "false"},
	{"init.defaultBranch", "main"},
	{"safe.directory", "*"}, // they are all ours, whoever owns the file system
	{"http.lowSpeedLimit", "1"},
	{"http.lowSpeedTime", "120"},
}

// run runs git and returns what it printed.
func (c *Checkout) run(ctx context.Context, in call, args ...string) (string, error) {
	program := c.git.program
	if program == "" {
		program = "git"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", errors.New("the program git is needed for it, and is not in PATH")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	if cmd.Env, err = c.env(in); err != nil {
		return "", err
	}
	if cmd.Dir = in.workTree; cmd.Dir == "" {
		cmd.Dir = filepath.Join(c.git.Store.Path(), cache.SourceGit)
	}
	var stdout bytes.Buffer
	stderr := &lastBytes{}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	if in.remote {
		_, watch := wait.Start(ctx, "git "+args[0]+" from "+c.host(), 0)
		defer watch.Stop()
	}
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	runtime.LockOSThread() // whose end is that of git
	err = cmd.Run()
	runtime.UnlockOSThread()
	endGroup(cmd)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", &runError{args: args, said: stderr.String(), err: err}
	}
	return stdout.String(), nil
}

// ask is run for what speaks to the remote: while that cannot be reached, it is
// asked again.
func (c *Checkout) ask(ctx context.Context, in call, args ...string) (string, error) {
	tries := c.git.Retry.Begin()
	tries.Label = "git " + args[0] + " from " + c.host()
	for {
		out, err := c.run(ctx, in, args...)
		var failed *runError
		if err == nil || !errors.As(err, &failed) || !unreachable.MatchString(failed.said) {
			return out, err
		}
		if err := tries.Failed(ctx, err, 0); err != nil {
			return "", err
		}
	}
}

// unreachable is what git and ssh say of a remote that may be there later.
var unreachable = regexp.MustCompile(`(?i)connection (refused|reset|timed out)|couldn't connect to server|could not (connect to server|resolve host)|` +
	`temporary failure in name resolution|network is unreachable|early EOF|returned error: (429|500|502|503|504)`)

// host is the host of the remote.
func (c *Checkout) host() string {
	remote, _ := graph.WithoutUser(c.op.Remote)
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		return u.Host
	}
	host, _, _ := strings.Cut(remote, ":") // as ssh has it
	return host
}

// env is the whole environment of git.
func (c *Checkout) env(in call) ([]string, error) {
	protocols := "https:http:ssh:git"
	if c.git.allowFile {
		protocols += ":file"
	}
	if in.local {
		protocols = "file"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_ALLOW_PROTOCOL=" + protocols,
		"GIT_CEILING_DIRECTORIES=" + c.git.Store.Path(),
	}
	if in.gitDir != "" {
		env = append(env, "GIT_DIR="+in.gitDir)
	}
	if in.workTree != "" {
		env = append(env, "GIT_WORK_TREE="+in.workTree)
	}
	config := configuration
	if in.local {
		config = append(config[:len(config):len(config)], [2]string{"transfer.fsckObjects", "false"}) // they were looked at
	}
	if in.remote {
		more, err := c.credentials()
		if err != nil {
			return nil, err
		}
		config = append(config[:len(config):len(config)], more...)
		ssh, err := c.ssh()
		if err != nil {
			return nil, err
		}
		env = append(env, ssh...)
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"} {
			if v, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+v)
			}
		}
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, kv := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env, nil
}

// credentials is configuration that sends a header to the remote, and to
// nobody else: where there is one, redirects are not followed.
func (c *Checkout) credentials() ([][2]string, error) {
	remote, user := graph.WithoutUser(c.op.Remote)
	if u, err := url.Parse(remote); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, nil
	}
	header, err := c.secretHeader(remote)
	if err != nil {
		return nil, err
	}
	if header == "" && user != nil {
		password, _ := user.Password()
		header = basic(user.Username(), password)
	}
	if header == "" {
		return [][2]string{{"http.followRedirects", "initial"}}, nil
	}
	return [][2]string{
		{"http.followRedirects", "false"},
		{"http." + credentialScope(remote) + ".extraHeader", "Authorization: " + header},
	}, nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// credentialScope is the URLs that a remote's credentials are for: itself, and
// for GitHub all of GitHub, so that its submodules can be private too.
func credentialScope(remote string) string {
	for _, host := range []string{"https://github.com/", "https://www.github.com/"} {
		if strings.HasPrefix(remote, host) {
			return host
		}
	}
	return remote
}

// secretHeader returns the first secret there is: of the host before of all
// hosts, a header before a token.
func (c *Checkout) secretHeader(remote string) (string, error) {
	if c.git.Secret == nil {
		return "", nil
	}
	u, err := url.Parse(remote)
	if err != nil {
		return "", nil // checked before
	}
	for _, suffix := range []string{"." + u.Host, ""} {
		for i, name := range []string{c.op.HeaderSecret, c.op.TokenSecret} {
			if name == "" {
				continue
			}
			value, ok, err := c.git.Secret(name + suffix)
			if err != nil {
				return "", fmt.Errorf("secret %s: %w", name+suffix, err)
			}
			v := strings.TrimRight(string(value), "\r\n")
			if strings.ContainsAny(v, "\r\n\x00") {
				return "", fmt.Errorf("secret %s: it has more than one line", name+suffix)
			}
			if ok && i == 0 {
				return v, nil
			}
			if ok {
				return basic("x-access-token", v), nil
			}
		}
	}
	return "", nil
}

// ssh is the environment for ssh: no configuration and no keys but those of
// the agent that the build was given.
func (c *Checkout) ssh() ([]string, error) {
	command := "ssh -F " + os.DevNull + " -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=yes"
	if c.op.KnownHosts != "" {
		dir, err := c.private()
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "known_hosts")
		if err := os.WriteFile(file, []byte(c.op.KnownHosts), 0o600); err != nil {
			return nil, err
		}
		command += " -o GlobalKnownHostsFile=" + os.DevNull + " -o UserKnownHostsFile='" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	}
	env := []string{"GIT_SSH_COMMAND=" + command, "GIT_SSH_VARIANT=ssh"}
	if c.op.SSH == "" || c.git.SSHAgent == nil {
		return env, nil
	}
	socket, err := c.git.SSHAgent(c.op.SSH)
	if err == nil && socket != "" {
		env = append(env, "SSH_AUTH_SOCK="+socket)
	}
	return env, err
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct{ data []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	const most = 16 << 10
	l.data = append(l.data, p...)
	if over := len(l.data) - most; over > 0 {
		l.data = append(l.data[:0], l.data[over:]...)
	}
	return len(p), nil
}

func (l *lastBytes) String() string { return string(l.data) }

// runError is a git that failed.
type runError struct {
	args []string
	said string
	err  error
}

func (e *runError) Unwrap() error { return e.err }

// Error is the last that git said, on one line.
func (e *runError) Error() string {
	if strings.Contains(e.said, "could not read Username") || strings.Contains(e.said, "Authentication failed") {
		return "it wants credentials, or other ones; give the secret GIT_AUTH_TOKEN or GIT_AUTH_HEADER"
	}
	var lines []string
	for line := range strings.SplitSeq(e.said, "\n") {
		line = strings.TrimSpace(strings.Map(printableRune, line))
		if line != "" && !strings.HasPrefix(line, "hint:") && !strings.HasPrefix(line, "Please make sure") && line != "and the repository exists." {
			lines = append(lines, line)
		}
	}
	const most = 3
	if over := len(lines) - most; over > 0 {
		lines = lines[over:]
	}
	if len(lines) == 0 {
		return fmt.Sprintf("git %s: %v", e.args[0], e.err)
	}
	return graph.Redact(strings.Join(lines, "; "))
}

func printableRune(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

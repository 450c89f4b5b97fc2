package graph

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// HTTP is one file of the web.
type HTTP struct {
	URL      string        // as it was written: it may hold credentials
	Checksum digest.Digest // what the file must have; empty if nobody says
	Filename string        // its name in the tree; empty means that of the answer
	Perm     int           // 0 means 0600
	UID, GID int
	// AuthSecret names the secret that is the Authorization header; empty means
	// those that belong to the host, if there are any.
	AuthSecret string
	Headers    []Header // sorted by name
}

// Header is a field of a request.
type Header struct{ Name, Value string }

// Git is the files of one commit of a repository.
type Git struct {
	Remote   string // URL or user@host:path, as it was written: it may hold credentials
	Ref      string // branch, tag, full ref or full commit; empty means the default branch
	Subdir   string // clean, without a leading slash; empty means the whole
	Checksum string // how the commit must begin, in hex; empty if nobody says
	// KeepGitDir keeps .git, SkipSubmodules leaves submodules empty.
	KeepGitDir, SkipSubmodules bool
	// FetchByCommit trusts Checksum, a full commit, whatever Ref is now.
	FetchByCommit bool
	// CommitTime gives the files the time of the commit.
	CommitTime bool
	// TokenSecret and HeaderSecret name secrets for HTTP; SSH names an agent.
	TokenSecret, HeaderSecret, SSH string
	KnownHosts                     string // lines of ssh's known_hosts; never in a key
}

// Kind implements Op.
func (*HTTP) Kind() string { return "http" }

// Kind implements Op.
func (*Git) Kind() string { return "git" }

// credentials are what stands before the host in a URL; "git@" is no secret.
var credentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s"'<>]*@`)

// Redact hides the credentials of all URLs in a text. What is before the host
// of an ssh URL stays, unless it holds a password.
func Redact(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return credentials.ReplaceAllStringFunc(s, func(m string) string {
		scheme, user, _ := strings.Cut(m, "://")
		if strings.EqualFold(scheme, "ssh") && !strings.Contains(user, ":") {
			return m
		}
		return scheme + "://xxxxx@"
	})
}

// WithoutUser returns a URL without its credentials, and these. What is no URL
// with a scheme stays as it is.
func WithoutUser(s string) (string, *url.Userinfo) {
	u, err := url.Parse(s)
	if err != nil || u.User == nil || u.Scheme == "" {
		return s, nil
	}
	user := u.User
	u.User = nil
	return u.String(), user
}

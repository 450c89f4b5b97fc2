package graph

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/opencontainers/go-digest"
)

// userHeaders are the header fields that a definition may set; BuildKit drops
// others silently, here they are refused.
var userHeaders = []string{"Accept", "User-Agent"}

func decodeHTTP(src *pb.SourceOp, attrs map[string]string) (Op, error) {
	h := &HTTP{URL: src.GetIdentifier(), Filename: attrs[pb.AttrHTTPFilename], AuthSecret: attrs[pb.AttrHTTPAuthHeaderSecret]}
	drop(attrs, pb.AttrHTTPFilename, pb.AttrHTTPAuthHeaderSecret)
	if sum, ok := attrs[pb.AttrHTTPChecksum]; ok {
		delete(attrs, pb.AttrHTTPChecksum)
		var err error
		if h.Checksum, err = digest.Parse(sum); err != nil {
			return nil, fmt.Errorf("checksum %q: %w", sum, err)
		}
	}
	for key, to := range map[string]*int{pb.AttrHTTPPerm: &h.Perm, pb.AttrHTTPUID: &h.UID, pb.AttrHTTPGID: &h.GID} {
		v, ok := attrs[key]
		if !ok {
			continue
		}
		delete(attrs, key)
		n, err := strconv.ParseInt(v, 0, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s %q is not a number that a file may have", key, v)
		}
		*to = int(n)
	}
	for key, v := range attrs {
		name, ok := strings.CutPrefix(key, pb.AttrHTTPHeaderPrefix)
		if name = http.CanonicalHeaderKey(name); ok && slices.Contains(userHeaders, name) {
			delete(attrs, key)
			h.Headers = append(h.Headers, Header{Name: name, Value: v})
		}
	}
	slices.SortFunc(h.Headers, func(a, b Header) int { return cmp.Compare(a.Name, b.Name) })
	return h, unknown(attrs, src)
}

func decodeGit(src *pb.SourceOp, rest string, attrs map[string]string) (Op, error) {
	remote := rest
	if !gitutil.IsGitTransport(remote) {
		remote = "https://" + remote
	}
	u, err := gitutil.ParseURL(remote)
	if err != nil {
		return nil, fmt.Errorf("git repository %s: %w", Redact(rest), plain(err))
	}
	g := &Git{Remote: u.Remote}
	if u.Opts != nil {
		g.Ref, g.Subdir = u.Opts.Ref, u.Opts.Subdir
	}
	if full, ok := attrs[pb.AttrFullRemoteURL]; ok {
		if g.Remote, err = gitRemote(full, u); err != nil {
			return nil, err
		}
	}
	g.Checksum = attrs[pb.AttrGitChecksum]
	g.KeepGitDir = attrs[pb.AttrKeepGitDir] == "true"
	g.SkipSubmodules = attrs[pb.AttrGitSkipSubmodules] == "true"
	g.FetchByCommit = attrs[pb.AttrGitFetchByCommit] == "true"
	g.CommitTime = attrs[pb.AttrGitMTime] == "commit"
	g.TokenSecret, g.HeaderSecret = attrs[pb.AttrAuthTokenSecret], attrs[pb.AttrAuthHeaderSecret]
	g.SSH, g.KnownHosts = attrs[pb.AttrMountSSHSock], attrs[pb.AttrKnownSSHHosts]
	drop(attrs, pb.AttrFullRemoteURL, pb.AttrGitChecksum, pb.AttrKeepGitDir, pb.AttrGitSkipSubmodules, pb.AttrGitFetchByCommit,
		pb.AttrGitMTime, pb.AttrAuthTokenSecret, pb.AttrAuthHeaderSecret, pb.AttrMountSSHSock, pb.AttrKnownSSHHosts, pb.AttrGitAdvice)
	// A subdir of the query form comes as it was written.
	g.Subdir = strings.TrimPrefix(path.Join("/", g.Subdir), "/")
	return g, unknown(attrs, src)
}

// gitRemote checks that the full URL, which has the scheme and perhaps
// credentials, means what the identifier says.
func gitRemote(full string, id *gitutil.GitURL) (string, error) {
	if !gitutil.IsGitTransport(full) {
		full = "https://" + full
	}
	u, err := gitutil.ParseURL(full)
	if err != nil {
		return "", fmt.Errorf("git repository %s: %w", Redact(full), plain(err))
	}
	if !strings.EqualFold(u.Host, id.Host) || path.Join("/", u.Path) != path.Join("/", id.Path) {
		return "", fmt.Errorf("git repository %s is not the %s of its identifier", Redact(u.Remote), id.Host+path.Join("/", id.Path))
	}
	return strings.TrimSuffix(u.Remote, "?"), nil // what is left of a query without fields
}

// plain drops what a parser quotes of a URL, which may be a password.
func plain(err error) error {
	switch {
	case errors.Is(err, gitutil.ErrInvalidProtocol):
		return errors.New("only https, http, ssh and git URLs are known")
	case errors.Is(err, gitutil.ErrUnknownProtocol):
		return errors.New("it is no URL of a repository")
	}
	return errors.New("it is no valid URL")
}

package graph

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// source decodes the one source operation of a state.
func source(t *testing.T, st llb.State) (Op, error) {
	t.Helper()
	g, err := decode(t, st)
	if err != nil {
		return nil, err
	}
	return g.Result.Step.Op, nil
}

func TestDecodeHTTP(t *testing.T) {
	sum := digest.FromString("x")
	got, err := source(t, llb.HTTP("https://u:p@example.com/a?b=c", llb.Checksum(sum), llb.Filename("n"), llb.Chmod(0o751), llb.Chown(1, 2),
		llb.AuthHeaderSecret("S"), llb.Header(llb.HTTPHeader{Accept: "a/b", UserAgent: "me"})))
	if err != nil {
		t.Fatal(err)
	}
	want := &HTTP{
		URL: "https://u:p@example.com/a?b=c", Checksum: sum, Filename: "n", Perm: 0o751, UID: 1, GID: 2, AuthSecret: "S",
		Headers: []Header{{"Accept", "a/b"}, {"User-Agent", "me"}},
	}
	if d := cmp.Diff(Op(want), got); d != "" {
		t.Error(d)
	}
}

func TestDecodeGit(t *testing.T) {
	for name, tc := range map[string]struct {
		st   llb.State
		want Git
	}{
		"plain": {llb.Git("https://u:p@example.com/r.git", ""), Git{Remote: "https://u:p@example.com/r.git"}},
		"fragment": {
			llb.Git("git@example.com:a/r.git", "v1:sub/../dir", llb.KnownSSHHosts("h k")),
			Git{Remote: "git@example.com:a/r.git", Ref: "v1", Subdir: "dir", SSH: "default", KnownHosts: "h k\n"},
		},
		"options": {
			llb.Git("http://example.com:8080/r.git", "", llb.GitRef("refs/tags/v1"), llb.GitSubDir("../../etc"), llb.GitChecksum("abc"),
				llb.KeepGitDir(), llb.GitSkipSubmodules(), llb.GitMTimeCommit(), llb.GitFetchByCommit()),
			Git{Remote: "http://example.com:8080/r.git", Ref: "refs/tags/v1", Subdir: "etc", Checksum: "abc",
				KeepGitDir: true, SkipSubmodules: true, CommitTime: true, FetchByCommit: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := source(t, tc.st)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.TokenSecret, tc.want.HeaderSecret = llb.GitAuthTokenKey, llb.GitAuthHeaderKey
			if d := cmp.Diff(Op(&tc.want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeRefusesSources(t *testing.T) {
	for name, tc := range map[string]struct {
		id, says string
		attrs    map[string]string
	}{
		"unknown scheme":     {"ftp://u:S3CR3T@example.com/x", "not supported", nil},
		"checksum":           {"http://u:S3CR3T@example.com/x", "checksum", map[string]string{pb.AttrHTTPChecksum: "sha256:1"}},
		"perm":               {"http://u:S3CR3T@example.com/x", "http.perm", map[string]string{pb.AttrHTTPPerm: "rwx"}},
		"header":             {"http://u:S3CR3T@example.com/x", "http.header.cookie", map[string]string{pb.AttrHTTPHeaderPrefix + "cookie": "a"}},
		"signature":          {"git://example.com/r.git", "git.sig.pubkey", map[string]string{pb.AttrGitSignatureVerifyPubKey: "k"}},
		"another repository": {"git://example.com/r.git", "is not the", map[string]string{pb.AttrFullRemoteURL: "https://u:S3CR3T@evil.example/r.git"}},
		"file protocol":      {"git://example.com/r.git", "is not the", map[string]string{pb.AttrFullRemoteURL: "file://u:S3CR3T@/r.git"}},
		"ext protocol":       {"git://ext::sh -c x", "URL", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeSource(&pb.SourceOp{Identifier: tc.id, Attrs: tc.attrs})
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "S3CR3T") {
				t.Errorf("error %v, want one with %q and no password", err, tc.says)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"ADD https://u:p@h/x /":                  "ADD https://xxxxx@h/x /",
		"ADD https://token@h/x http://a:b@c/d":   "ADD https://xxxxx@h/x http://xxxxx@c/d",
		"https://h/x?mail=a@b":                   "https://h/x?mail=a@b",
		"ssh://git@h/x":                          "ssh://git@h/x",
		"ssh://git:pw@h/x":                       "ssh://xxxxx@h/x",
		"git@h:x":                                "git@h:x",
		"RUN curl -u a:b https://h/ 2>&1 | x@y":  "RUN curl -u a:b https://h/ 2>&1 | x@y",
		"https://u:p@ss/w@h/x and http://z:q@h/": "https://xxxxx@ss/w@h/x and http://xxxxx@h/",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

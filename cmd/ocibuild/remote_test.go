package main

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// startWeb serves the files of a directory; $WEB is where: web DIR. What lies
// in "private" is for who sends the token that the script knows.
func startWeb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: web DIR")
	}
	files := http.FileServer(http.Dir(ts.MkAbs(args[0])))
	mux := http.NewServeMux()
	mux.Handle("/", files)
	mux.HandleFunc("/private/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	ts.Setenv("WEB", s.URL)
}

// startGit serves the repositories in the working directory as git does; $GIT
// is where. The variables let the script commit as somebody: git-server
func startGit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: git-server")
	}
	out, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	isolated := map[string]string{
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
		"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_COMMITTER_DATE": "1600000000 +0000",
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + ts.Getenv("WORK"), "GIT_HTTP_EXPORT_ALL=1"},
	}
	for k, v := range isolated {
		ts.Setenv(k, v)
		backend.Env = append(backend.Env, k+"="+v)
	}
	s := httptest.NewServer(backend)
	ts.Defer(s.Close)
	ts.Setenv("GIT", s.URL)
	ts.Setenv("GIT_HOST", s.Listener.Addr().String())
}

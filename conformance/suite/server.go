package suite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Server serves the files of cases on loopback, and their git repositories.
//
// Beside a file may lie another of its name with ".headers" behind it: headers
// of the answer, one a line. Three of them are for the server: "Status" is the
// answer's status, "Wants" the header that a request must have, and
// "Last-Modified: none" leaves it out.
type Server struct {
	server *httptest.Server
	git    string // the program that speaks git's protocol

	mu   sync.Mutex
	dirs map[string]string // by case
}

// StartServer starts a server without files.
func StartServer(ctx context.Context) (*Server, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git, for cases that read repositories: %w", err)
	}
	s := &Server{git: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), dirs: map[string]string{}}
	s.server = httptest.NewServer(s)
	return s, nil
}

// Close ends it.
func (s *Server) Close() { s.server.Close() }

// Serve makes the files of a case known and returns their URL.
func (s *Server) Serve(c *Case, dir string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs[c.Name] = dir
	return s.server.URL + "/" + c.Name
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	if len(parts) < 3 {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	dir := s.dirs[parts[0]+"/"+parts[1]]
	s.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/") {
		parts[2] += "index"
	}
	switch name := path.Clean("/" + parts[2]); {
	case dir == "":
		http.NotFound(w, r)
	case strings.HasSuffix(name, "/info/refs"), strings.HasSuffix(name, "/git-upload-pack"):
		s.serveGit(w, r, dir, name)
	default:
		serveFile(w, r, filepath.Join(dir, filepath.FromSlash(name)))
	}
}

func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, dir, name string) {
	r.URL.Path = name
	backend := &cgi.Handler{
		Path: s.git, Logger: log.New(io.Discard, "", 0), Stderr: io.Discard,
		Env: append(gitEnv(), "GIT_PROJECT_ROOT="+dir, "GIT_HTTP_EXPORT_ALL=1"),
	}
	backend.ServeHTTP(w, r)
}

func serveFile(w http.ResponseWriter, r *http.Request, file string) {
	headers, err := readHeaders(file + ".headers")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if wants := headers.Get("Wants"); wants != "" {
		k, v, _ := strings.Cut(wants, ": ")
		if r.Header.Get(k) != v {
			http.Error(w, "not for you", http.StatusUnauthorized)
			return
		}
	}
	for k, v := range headers {
		if k != "Wants" && k != "Status" {
			w.Header()[k] = v
		}
	}
	if status, err := strconv.Atoi(headers.Get("Status")); err == nil {
		w.WriteHeader(status)
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	switch info, err := os.Stat(file); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	case headers.Get("Last-Modified") == "none":
		w.Header().Del("Last-Modified")
	case headers.Get("Last-Modified") == "":
		w.Header().Set("Last-Modified", info.ModTime().UTC().Format(http.TimeFormat))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // who does not read it has gone
}

func readHeaders(file string) (http.Header, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return http.Header{}, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(data, "\n"...)))).ReadMIMEHeader()
	return http.Header(h), err
}

package cache

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestDefaultDir(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("SKIPPED: for root it is in the system, which no test changes")
	}
	home, data, temp := t.TempDir(), t.TempDir(), t.TempDir()
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	among := filepath.Join(temp, "ocibuild-")
	tests := map[string]struct {
		env    map[string]string
		want   string // how the path begins
		notice string
		err    string
	}{
		"named":                {map[string]string{"OCIBUILD_STORE": "/named", "HOME": home}, "/named", "", ""},
		"of the user":          {map[string]string{"HOME": home}, filepath.Join(home, ".local/share/ocibuild"), "", ""},
		"where the data are":   {map[string]string{"HOME": home, "XDG_DATA_HOME": data}, filepath.Join(data, "ocibuild"), "", ""},
		"no home":              {nil, among, "HOME", ""},
		"home cannot be used":  {map[string]string{"HOME": locked}, among, "permission denied", ""},
		"a home like in a pod": {map[string]string{"HOME": "/"}, among, "/.local", ""},
		"nothing can be used":  {map[string]string{"HOME": locked, "TMPDIR": locked}, "", "", "name one with OCIBUILD_STORE"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"OCIBUILD_STORE", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"} {
				t.Setenv(k, tt.env[k])
			}
			t.Setenv("TMPDIR", temp)
			if d := tt.env["TMPDIR"]; d != "" {
				t.Setenv("TMPDIR", d)
			}
			got, notice, err := DefaultDir()
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
			case err != nil || !strings.HasPrefix(got, tt.want) || (notice == "") != (tt.notice == "") || !strings.Contains(notice, tt.notice):
				t.Errorf("got %s, %q, %v, want %s, %q", got, notice, err, tt.want, tt.notice)
			}
		})
	}
}

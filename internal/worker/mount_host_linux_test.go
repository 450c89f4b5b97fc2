package worker

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestC2D1ShownFilesCanBeReplaced, and C2: what a step puts in the place of a file of
// this machine is in the layer, and nothing else of it.
func TestC2D1ShownFilesCanBeReplaced(t *testing.T) {
	dir := t.TempDir()
	cert, secret := filepath.Join(dir, "cert"), filepath.Join(dir, "secret")
	for name, mode := range map[string]os.FileMode{cert: 0o644, secret: 0o600} {
		if err := os.WriteFile(name, []byte("machine\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct{ script, want string }{
		"read":            {"test $(cat /d/cert)$(cat /root/.pip/conf)$(cat /l/cert) = machinemachinemachine", ""},
		"replaced":        {"echo mine >/d/new; mv /d/new /d/cert", "d/,d/cert"},
		"through a link":  {"echo mine >/d/new; mv /d/new /l/cert", "d/,d/cert"},
		"the same bytes":  {"echo machine >/d/new; mv /d/new /d/cert", "d/,d/cert"},
		"edited":          {"busybox sed -i s/machine/mine/ /d/cert; test $(cat /d/cert) = mine", "d/,d/cert"},
		"removed":         {"rm /d/cert", "d/,d/cert"},
		"overwritten":     {"echo mine >/d/cert", "d/,d/cert"},
		"replaced by dir": {"rm /d/cert; mkdir /d/cert", "d/,d/cert/"},
		"touched":         {"chown 5 /d/cert; chmod 600 /d/cert; touch /d/cert; chown -R 0 /root/.pip; touch /root/.pip/conf", ""},
		"appended":        {"echo more >>/d/cert", ""},
		"new removed":     {"rm -r /root/.pip", ""},
		"new replaced":    {"echo x >/root/n; mv /root/n /root/.pip/conf", "root/,root/.pip/,root/.pip/conf"},
		"beside":          {"echo x >/root/.pip/more", "root/,root/.pip/,root/.pip/more"},
	}
	for _, isolation := range Isolations() {
		if isolation == IsolationNone {
			continue
		}
		t.Run(isolation, func(t *testing.T) {
			h := newHouseOn(t, isolation)
			if h == nil {
				t.Skip("SKIPPED: not possible here")
			}
			under := h.layer(
				tar.Header{Typeflag: tar.TypeDir, Name: "d/", Uid: 7, Mode: 0o2775},
				tar.Header{Typeflag: tar.TypeReg, Name: "d/cert", Linkname: "image\n"},
				tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/d"},
				tar.Header{Typeflag: tar.TypeDir, Name: "root/"},
			)
			for name, tt := range tests {
				target := "/d/cert"
				if strings.Contains(tt.script, "/l/") {
					target = "/l/cert"
				}
				r := h.shell("("+tt.script+") && echo ok", under)
				r.Mounts = []Mount{
					{Type: MountHost, Source: cert, Target: target, ReadOnly: true},
					{Type: MountHost, Source: secret, Target: "/root/.pip/conf", ReadOnly: true},
				}
				e, out, err := h.run(context.Background(), r)
				if err != nil || out != "ok\n" {
					t.Errorf("%s: %v: %s", name, err, out)
					continue
				}
				var names []string
				for _, line := range h.entries(h.commit(e)) {
					names = append(names, strings.Fields(line)[0])
				}
				slices.Sort(names)
				want := strings.ReplaceAll(tt.want, "/,", ",")
				got := strings.Join(names, ",")
				if strings.TrimSuffix(want, "/") != got {
					t.Errorf("%s: the layer has %q, want %q", name, got, want)
				}
			}
		})
	}
}

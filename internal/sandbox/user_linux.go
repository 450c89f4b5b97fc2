package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

const (
	maxID       = 1<<31 - 1 // larger ones wrap to root in some programs
	maxUserFile = 10 << 20  // of /etc/passwd and /etc/group, as BuildKit
)

// LookupUser finds the user of an image whose tree is at rootfs. The syntax is
// "user" or "user:group", each a name or a number; "" is user 0. A number is
// always an id, even if the image has a user of that name. Without a group the
// user's own ones of /etc/passwd and /etc/group are taken; a user id that the
// image does not know is in group 0, as with Docker.
func LookupUser(rootfs, user string) (*Identity, error) {
	root, err := inroot.OpenRoot(rootfs, "the image")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name, group, _ := strings.Cut(user, ":")
	id, login, err := findUser(root, name)
	if err != nil {
		return nil, err
	}
	switch {
	case group != "":
		id.GID, err = findGroup(root, group)
	case login != "":
		id.Groups, err = groupsOf(root, login)
	}
	if err != nil {
		return nil, err
	}
	// The user's own group too, so that a process that gives up its group still
	// counts as a member where membership takes rights away.
	if !slices.Contains(id.Groups, id.GID) {
		id.Groups = slices.Insert(id.Groups, 0, id.GID)
	}
	return id, nil
}

// findUser returns the user and, when the image knows it, its login name.
func findUser(root *inroot.Root, name string) (*Identity, string, error) {
	if name == "" {
		name = "0"
	}
	uid, numeric, err := parseID(name)
	if err != nil {
		return nil, "", fmt.Errorf("user %q: %w", name, err)
	}
	passwd, err := readUserFile(root, "/etc/passwd")
	if err != nil {
		return nil, "", err
	}
	for line := range strings.SplitSeq(passwd, "\n") {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || !numeric && f[0] != name || numeric && f[2] != name {
			continue
		}
		id, err := passwdEntry(f)
		if err != nil {
			return nil, "", fmt.Errorf("user %q in /etc/passwd of the image: %w", name, err)
		}
		return id, f[0], nil
	}
	if !numeric {
		return nil, "", fmt.Errorf("user %q is not in /etc/passwd of the image", name)
	}
	home := "/"
	if uid == 0 {
		home = "/root"
	}
	return &Identity{UID: uid, Home: home}, "", nil
}

func passwdEntry(f []string) (*Identity, error) {
	uid, ok, err := parseID(f[2])
	if err != nil || !ok {
		return nil, fmt.Errorf("malformed user id %q", f[2])
	}
	gid, ok, err := parseID(f[3])
	if err != nil || !ok {
		return nil, fmt.Errorf("malformed group id %q", f[3])
	}
	id := &Identity{UID: uid, GID: gid, Home: "/"}
	if len(f) > 5 && f[5] != "" {
		id.Home = f[5]
	}
	return id, nil
}

func findGroup(root *inroot.Root, name string) (uint32, error) {
	gid, numeric, err := parseID(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	if numeric {
		return gid, nil
	}
	file, err := readUserFile(root, "/etc/group")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(file, "\n") {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		gid, ok, err := parseID(f[2])
		if err != nil || !ok {
			return 0, fmt.Errorf("group %q in /etc/group of the image: malformed group id %q", name, f[2])
		}
		return gid, nil
	}
	return 0, fmt.Errorf("group %q is not in /etc/group of the image", name)
}

func groupsOf(root *inroot.Root, login string) ([]uint32, error) {
	file, err := readUserFile(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	var groups []uint32
	for line := range strings.SplitSeq(file, "\n") {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), login) {
			continue
		}
		gid, ok, err := parseID(f[2])
		if err != nil || !ok {
			return nil, fmt.Errorf("group %q in /etc/group of the image: malformed group id %q", f[0], f[2])
		}
		if !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return groups, nil
}

// parseID tells whether s is a number and which. Only plain decimal is one: the
// signs, prefixes and leading zeros that parsers like to accept have turned
// users into root before.
func parseID(s string) (id uint32, numeric bool, err error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		if strings.ContainsAny(s, "\n:") || s != strings.TrimSpace(s) || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
			return 0, false, errors.New("malformed")
		}
		return 0, false, nil
	}
	if len(s) > 1 && s[0] == '0' {
		return 0, true, errors.New("malformed: leading zeros")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxID {
		return 0, true, fmt.Errorf("ids end at %d", maxID)
	}
	return uint32(n), true, nil
}

// readUserFile reads a file that an image wrote. A missing one is empty.
func readUserFile(root *inroot.Root, name string) (string, error) {
	data, err := root.ReadFile(name, maxUserFile)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	return string(data), err
}

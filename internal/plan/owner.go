package plan

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

// Owner is who owns what an operation makes; a nil Owner keeps the owner of
// the source, or is 0:0 for what has no source.
type Owner struct{ UID, GID int }

func (o *Owner) apply(e *layer.Entry) {
	if o != nil {
		e.UID, e.GID = o.UID, o.GID
	}
}

// passwdLimit bounds /etc/passwd and /etc/group of an image, which may be
// anything (BuildKit has the same limit).
const passwdLimit = 10 << 20

// UnknownOwnerError says that an image does not know a user or group.
type UnknownOwnerError struct{ Kind, Name string }

func (e *UnknownOwnerError) Error() string {
	return fmt.Sprintf("%s %q is not in /etc/%s of the image; use a number, or add the %s first",
		e.Kind, e.Name, map[string]string{"user": "passwd", "group": "group"}[e.Kind], e.Kind)
}

// LookupOwner turns names into numbers by /etc/passwd and /etc/group of the
// tree that trees returns for an ID. A name that is not there is an
// [UnknownOwnerError]; the owner that comes with it has 0 for that name.
func LookupOwner(ctx context.Context, o *graph.Owner, trees func(input int) (layer.Tree, error)) (*Owner, error) {
	if o == nil {
		return nil, nil
	}
	own := &Owner{}
	var unknown *UnknownOwnerError
	if o.User != nil {
		own.UID, own.GID = o.User.Num, o.User.Num
		if o.User.Name != "" {
			fields, err := account(ctx, "passwd", o.User, trees)
			if err != nil && !errors.As(err, &unknown) {
				return nil, err
			}
			own.UID, own.GID = fields[0], fields[1]
		}
	}
	if o.Group != nil {
		own.GID = o.Group.Num
		if o.Group.Name != "" {
			fields, err := account(ctx, "group", o.Group, trees)
			if err != nil && !errors.As(err, &unknown) {
				return nil, err
			}
			own.GID = fields[0]
		}
	}
	if unknown != nil {
		return own, unknown
	}
	return own, nil
}

// account returns the numbers from the third field on of a name's line: uid
// and gid in passwd, gid in group.
func account(ctx context.Context, file string, id *graph.ID, trees func(int) (layer.Tree, error)) ([2]int, error) {
	var none [2]int
	t, err := trees(id.Input)
	if err != nil {
		return none, err
	}
	data, err := readFile(ctx, t, "etc/"+file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return none, err
	}
	what := map[string]string{"passwd": "user", "group": "group"}[file]
	sc := bufio.NewScanner(strings.NewReader(data))
	sc.Buffer(nil, passwdLimit)
	for sc.Scan() {
		f := strings.Split(sc.Text(), ":")
		if len(f) < 3 || f[0] != id.Name {
			continue
		}
		var out [2]int
		for i := range out {
			if 2+i < len(f) && f[2+i] != "" && (i == 0 || file == "passwd") {
				if out[i], err = strconv.Atoi(f[2+i]); err != nil {
					return none, fmt.Errorf("%s %q: /etc/%s says %q", what, id.Name, file, f[2+i])
				}
			}
		}
		return out, nil
	}
	return none, &UnknownOwnerError{Kind: what, Name: id.Name}
}

func readFile(ctx context.Context, t layer.Tree, name string) (string, error) {
	name, err := layer.Resolve(ctx, t, name, true)
	if err != nil {
		return "", err
	}
	e, err := t.Lookup(ctx, name)
	if err != nil {
		return "", err
	}
	if e.Type != layer.Regular {
		return "", fmt.Errorf("/%s of the image is not a regular file", name)
	}
	if e.Size > passwdLimit {
		return "", fmt.Errorf("/%s of the image has %d bytes, more than %d", name, e.Size, passwdLimit)
	}
	r, err := t.Open(ctx, e)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, passwdLimit))
	return string(data), err
}

package inroot

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDetours are how often Place begins anew, for each link to something missing.
const maxDetours = 255

// Place is where something is to be put: what is there, or the directory in which
// it is to be made.
type Place struct {
	FD   int    // a handle (O_PATH) of what is there, -1 for nothing
	Dir  int    // a handle of the directory it is to be made in, -1 if it is there
	Base string // the name to make it by
}

// Mkdir makes the directory base in the directory dir and returns a handle of it.
type Mkdir func(dir int, base string) (int, error)

// Place finds the place that name stands for, within the tree. Directories above
// it that are missing are made by mkdir, also where a link on the way leads to
// something missing: then what the link means is made. The caller closes the one
// handle of the place.
func (r *Root) Place(name string, mkdir Mkdir) (*Place, error) {
	s := &search{r: r, mkdir: mkdir}
	p, err := s.place(name)
	if err != nil {
		return nil, r.failure("open", name, err)
	}
	return p, nil
}

// search is one run of Place.
type search struct {
	r       *Root
	mkdir   Mkdir
	detours int
}

func (s *search) place(name string) (*Place, error) {
	fd, err := Open(s.r.fd, name, unix.O_PATH, Within)
	if err == nil {
		return &Place{FD: fd, Dir: -1}, nil
	}
	above, base := split(name)
	if !errors.Is(err, unix.ENOENT) || base == "" {
		return nil, err
	}
	dir, err := s.directory(above)
	if err != nil {
		return nil, err
	}
	if base == "." || base == ".." { // what it leads through exists now
		unix.Close(dir)
		return s.again(name)
	}
	// Once more: it may have been made on the way, by a path like a/../a.
	fd, err = Open(dir, base, unix.O_PATH|unix.O_NOFOLLOW, Plain)
	if errors.Is(err, unix.ENOENT) {
		return &Place{FD: -1, Dir: dir, Base: base}, nil
	}
	defer unix.Close(dir)
	if err != nil {
		return nil, err
	}
	link, err := readlink(fd, "")
	if err != nil { // no link
		return &Place{FD: fd, Dir: -1}, nil
	}
	unix.Close(fd)
	// A link to something missing: what it means is to be made, inside the tree.
	if !strings.HasPrefix(link, "/") {
		at, err := s.r.PathOf(dir)
		if err != nil {
			return nil, err
		}
		link = at + "/" + link
	}
	return s.again(link)
}

func (s *search) again(name string) (*Place, error) {
	if s.detours++; s.detours > maxDetours {
		return nil, unix.ELOOP
	}
	return s.place(name)
}

// directory opens a directory, and makes it if there is none.
func (s *search) directory(name string) (int, error) {
	p, err := s.place(name)
	if err != nil {
		return -1, err
	}
	if p.FD < 0 {
		fd, err := s.mkdir(p.Dir, p.Base)
		unix.Close(p.Dir)
		if !errors.Is(err, unix.EEXIST) {
			return fd, err
		}
		// Another step, which shares what is mounted there, was faster.
		if p, err = s.again(name); err != nil {
			return -1, err
		}
		if p.FD < 0 {
			unix.Close(p.Dir)
			return -1, unix.ENOENT
		}
	}
	var st unix.Stat_t
	if err = unix.Fstat(p.FD, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		unix.Close(p.FD)
		return -1, err
	}
	return p.FD, nil
}

// split does not clean: ".." after a symbolic link must stay where it is.
func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "/", name[i+1:]
	}
	return name[:i], name[i+1:]
}

package graph

import (
	"fmt"
	"strings"
)

// name is what a step without a name of its own is called: what it does.
func name(op Op) string {
	switch op := op.(type) {
	case *Image:
		return op.Ref
	case *Local:
		return "local " + op.Name
	case *HTTP:
		return Redact(op.URL)
	case *Git:
		return Redact(op.Remote)
	case *Exec:
		return strings.Join(op.Args, " ")
	case *File:
		if len(op.Actions) > 0 {
			return fileName(op.Actions[0].Do)
		}
	}
	return "" // merging and taking apart is no work
}

func fileName(op FileOp) string {
	switch op := op.(type) {
	case *Copy:
		return fmt.Sprintf("copy %s %s", op.Src, op.Dest)
	case *Mkfile:
		return "mkfile " + op.Path
	case *Mkdir:
		return "mkdir " + op.Path
	case *Remove:
		return "rm " + op.Path
	case *Symlink:
		return fmt.Sprintf("symlink %s -> %s", op.New, op.Old)
	}
	return ""
}

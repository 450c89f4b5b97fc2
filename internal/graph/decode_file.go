package graph

import (
	"fmt"

	"github.com/moby/buildkit/solver/pb"
)

func decodeFile(f *pb.FileOp, inputs int) (Op, error) {
	out := &File{}
	for i, a := range f.GetActions() {
		act := Action{Input: int(a.GetInput()), Source: int(a.GetSecondaryInput()), Output: int(a.GetOutput())}
		for _, in := range []int{act.Input, act.Source} {
			if in < -1 || in >= inputs+i {
				return nil, fmt.Errorf("file action %d: input %d", i, in)
			}
		}
		var err error
		if act.Do, err = decodeAction(a); err != nil {
			return nil, err
		}
		out.Actions = append(out.Actions, act)
	}
	return out, nil
}

func decodeAction(a *pb.FileAction) (FileOp, error) {
	switch x := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		return decodeCopy(x.Copy), nil
	case *pb.FileAction_Mkfile:
		m := x.Mkfile
		return &Mkfile{Path: m.GetPath(), Mode: int(m.GetMode()), Data: m.GetData(), Owner: decodeOwner(m.GetOwner()), Timestamp: m.GetTimestamp()}, nil
	case *pb.FileAction_Mkdir:
		m := x.Mkdir
		return &Mkdir{Path: m.GetPath(), Mode: int(m.GetMode()), Parents: m.GetMakeParents(), Owner: decodeOwner(m.GetOwner()), Timestamp: m.GetTimestamp()}, nil
	case *pb.FileAction_Rm:
		return &Remove{Path: x.Rm.GetPath(), AllowNotFound: x.Rm.GetAllowNotFound(), Wildcard: x.Rm.GetAllowWildcard()}, nil
	case *pb.FileAction_Symlink:
		s := x.Symlink
		return &Symlink{Old: s.GetOldpath(), New: s.GetNewpath(), Owner: decodeOwner(s.GetOwner()), Timestamp: s.GetTimestamp()}, nil
	default:
		return nil, fmt.Errorf("a file action of kind %T is not known", x)
	}
}

func decodeCopy(c *pb.FileActionCopy) *Copy {
	return &Copy{
		Src: c.GetSrc(), Dest: c.GetDest(), Owner: decodeOwner(c.GetOwner()), Mode: int(c.GetMode()), ModeStr: c.GetModeStr(),
		FollowSymlink: c.GetFollowSymlink(), DirContents: c.GetDirCopyContents(), Unpack: c.GetAttemptUnpackDockerCompatibility(),
		CreateDestPath: c.GetCreateDestPath(), Wildcard: c.GetAllowWildcard(), AllowEmpty: c.GetAllowEmptyWildcard(),
		Timestamp: c.GetTimestamp(), Include: c.GetIncludePatterns(), Exclude: c.GetExcludePatterns(),
		Required: c.GetRequiredPaths(), ReplaceExisting: c.GetAlwaysReplaceExistingDestPaths(),
	}
}

func decodeOwner(o *pb.ChownOpt) *Owner {
	if o == nil {
		return nil
	}
	return &Owner{User: decodeID(o.GetUser()), Group: decodeID(o.GetGroup())}
}

func decodeID(u *pb.UserOpt) *ID {
	switch x := u.GetUser().(type) {
	case *pb.UserOpt_ByID:
		return &ID{Num: int(x.ByID)}
	case *pb.UserOpt_ByName:
		return &ID{Name: x.ByName.GetName(), Input: int(x.ByName.GetInput())}
	default:
		return nil
	}
}

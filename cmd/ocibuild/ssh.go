package main

import (
	"strconv"
	"strings"

	"github.com/ocibuild/ocibuild/builder"
)

// parseSSH reads "ID[=PATH[,PATH…][,raw=true]]".
func parseSSH(s string) (builder.SSH, error) {
	id, rest, given := strings.Cut(s, "=")
	out := builder.SSH{ID: id}
	if !given {
		return out, nil
	}
	for part := range strings.SplitSeq(rest, ",") {
		value, isRaw := strings.CutPrefix(part, "raw=")
		switch {
		case isRaw:
			var err error
			if out.Raw, err = strconv.ParseBool(value); err != nil {
				return out, usagef("--ssh %q: raw is %q, neither true nor false", s, value)
			}
		case part == "":
			return out, usagef("--ssh %q: a path is empty", s)
		default:
			out.Paths = append(out.Paths, part)
		}
	}
	return out, nil
}

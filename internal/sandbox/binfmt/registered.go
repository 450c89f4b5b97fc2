package binfmt

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// Recognised returns the architecture whose programs an entry of binfmt_misc, as
// the kernel shows it, makes every process of the machine run; "" for any other.
// The interpreter must have been opened when it was registered (flag F), or it is
// looked for among the files of the step.
func Recognised(entry string) string {
	fields := map[string]string{}
	for line := range strings.Lines(entry) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields[key] = value
	}
	if _, on := fields["enabled"]; !on || !strings.Contains(fields["flags:"], "F") {
		return ""
	}
	magic, err := hex.DecodeString(fields["magic"])
	if err != nil || fields["offset"] != "0" {
		return ""
	}
	for _, arch := range slices.Sorted(maps.Keys(processors)) {
		p := processors[arch]
		if program := p.program(); len(magic) >= 20 && magic[4] == program[4] && magic[5] == program[5] && string(magic[18:20]) == string(program[18:20]) {
			return arch
		}
	}
	return ""
}

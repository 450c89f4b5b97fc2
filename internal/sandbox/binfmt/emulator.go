package binfmt

import (
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Emulator runs programs of one architecture.
type Emulator struct {
	Arch string
	// File is the emulator itself, statically linked: nothing else of this
	// machine is needed where it runs.
	File string
	// Rule begins the line that registers it in binfmt_misc; the path of the
	// interpreter and the flags complete it.
	Rule string
}

// Name is what the emulator of an architecture is called; a file may have
// "-static" behind it. It is "" when nothing is known of the architecture.
func Name(arch string) string {
	p, ok := processors[arch]
	if !ok {
		return ""
	}
	return "qemu-" + p.qemu
}

// Find returns the emulators that are in the directories of a search path, as
// the environment variable PATH has it, one for each architecture but those
// left out. Those that are not statically linked do not count.
func Find(path string, without ...string) []Emulator {
	var all []Emulator
	for _, arch := range slices.Sorted(maps.Keys(processors)) {
		if slices.Contains(without, arch) {
			continue
		}
		if file := find(path, Name(arch)); file != "" {
			p := processors[arch]
			all = append(all, Emulator{Arch: arch, File: file, Rule: p.rule(arch)})
		}
	}
	return all
}

func find(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // the worker has no directory of its own
		}
		for _, ending := range []string{"-static", ""} {
			if file := filepath.Join(dir, name+ending); usable(file) {
				return file
			}
		}
	}
	return ""
}

// usable tells whether a file can be an emulator: a program that needs no
// loader, since that would be taken from the step's files, where it is one of
// the wrong processor.
func usable(file string) bool {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return false
	}
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	program, err := elf.NewFile(f)
	return err == nil && !slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

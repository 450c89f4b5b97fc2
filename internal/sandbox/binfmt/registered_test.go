package binfmt

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestRecognised(t *testing.T) {
	entry := func(change ...string) string {
		text := "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n" +
			"magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
		return strings.NewReplacer(change...).Replace(text)
	}
	tests := map[string]struct{ entry, want string }{
		"an emulator":          {entry(), "arm64"},
		"not for other roots":  {entry("POCF", "POC"), ""},
		"switched off":         {entry("enabled", "disabled"), ""},
		"no processor's":       {entry("7f454c4602", "cafebabe02", "b700", "feff"), ""},
		"by the end of a name": {"enabled\ninterpreter /usr/bin/jar\nflags: F\nextension .jar\n", ""},
		"short":                {entry("010000000000000000000200b700", ""), ""},
		"not hexadecimal":      {entry("7f45", "zzzz"), ""},
		"nothing":              {"", ""},
	}
	for arch, p := range processors {
		text := entry("7f454c460201010000000000000000000200b700", hex.EncodeToString(p.program()[:20]))
		tests[arch] = struct{ entry, want string }{text, arch}
	}
	for name, tt := range tests {
		if got := Recognised(tt.entry); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

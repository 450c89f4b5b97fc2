package bundle

import (
	"strings"
	"testing"
)

func TestWeakness(t *testing.T) {
	for version, weak := range map[string]string{
		"runc 1.1.5+ds1": "version 1.1.5+ds1 is older than 1.3.6 or 1.4.3: unless the distribution has repaired it, images can get out of it (CVE-2024-21626, ",
		"runc 1.3.5":     "version 1.3.5 is older than", "runc 1.3.6": "", "runc 1.3.10": "",
		"runc 1.4.0-rc.3": "version 1.4.0-rc.3 is older", "runc 1.4.2": "version 1.4.2", "runc 1.4.3": "", "runc 1.5.0": "", "runc 2.0.0": "",
		"runc 1.2.99": "version 1.2.99", "runc odd": "version odd cannot be compared", "runc ": "",
		"crun 1.8.1": "version 1.8.1 is older than 1.28.0", "crun 1.28": "", "crun 1.29.1": "", "crun 0.21": "version 0.21",
		"runsc release-20250101.0": "", "other 0.1": "",
	} {
		name, number, _ := strings.Cut(version, " ")
		got := (&Runtime{Name: name, Version: number}).Weakness()
		if !strings.HasPrefix(got, weak) || (got == "") != (weak == "") {
			t.Errorf("%s: %q, want %q", version, got, weak)
		}
	}
}

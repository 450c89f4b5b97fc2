//go:build ignore

// Writes the tables of system call numbers from those of golang.org/x/sys.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var constant = regexp.MustCompile(`(?m)^\tSYS_(\w+)\s*=\s*(\d+)$`)

// Calls of the ARM kernel itself, which x/sys does not list.
const armPrivate = "breakpoint 983041\ncacheflush 983042\nusr26 983043\nusr32 983044\nset_tls 983045\n"

func main() {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		log.Fatal(err)
	}
	for _, arch := range []string{"amd64", "386", "arm64", "arm"} {
		source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			log.Fatal(err)
		}
		var out bytes.Buffer
		for _, m := range constant.FindAllSubmatch(source, -1) {
			if name := string(m[1]); name != "SYSCALL_MASK" {
				fmt.Fprintf(&out, "%s %s\n", strings.ToLower(name), m[2])
			}
		}
		if arch == "arm" {
			out.WriteString(armPrivate)
		}
		if err := os.WriteFile("calls_"+arch+".txt", out.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The one initialiser that does work; the package documentation says why.
func init() {
	if len(os.Args) == 2 && os.Args[0] == HookName {
		forbidDevices(os.Args[1])
	}
	if len(os.Args) != 1 {
		return
	}
	switch os.Args[0] {
	case Name:
		main(os.Getpid() == 1, run)
	case ChrootName:
		main(true, runChrooted)
	}
}

// main ends the process. A step that runs this program under this name again
// finds neither pipe, so it cannot reach the code below.
func main(proper bool, run func() error) {
	if !isPipe(configFD) || !isPipe(reportFD) || !proper {
		fmt.Fprintln(os.Stderr, os.Args[0]+": is only started by ocibuild itself")
		os.Exit(125)
	}
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(reportFD)
	err := run() // returns only without success
	failure := &Failure{Text: err.Error()}
	var notRun *execError
	if errors.As(err, &notRun) {
		failure.Code = notRun.code
	}
	_ = report(Report{Failure: failure})
	os.Exit(125)
}

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

func run() error {
	c, err := readConfig()
	if err != nil {
		return err
	}
	if c.Runtime != nil {
		return runRuntime(c)
	}
	if err := prepareProcess(c); err != nil {
		return err
	}
	if err := enterTree(c); err != nil {
		return err
	}
	if err := giveUpRights(c, capabilities, false); err != nil {
		return err
	}
	return execute(c)
}

func readConfig() (*Config, error) {
	// Not os.ReadFile or os.NewFile: those would start the poller.
	data, buf := []byte(nil), make([]byte, 64<<10)
	for {
		n, err := unix.Read(configFD, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		if n == 0 {
			break
		}
		data = append(data, buf[:n]...)
	}
	c := new(Config)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return c, nil
}

func report(r Report) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n, err := unix.Write(reportFD, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("report to the builder: %w", err)
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return nil
}

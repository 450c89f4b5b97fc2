package git

import "syscall"

// endWithUs has a process asked to end when the thread that starts it ends, as it
// does when this process is killed. git then ends those that it has started.
func endWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }

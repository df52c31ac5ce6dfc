package wire

import "syscall"

// attributes give the process a group of its own, so that Ctrl-C reaches the
// host alone and Stop reaches the process's children, and let the kernel kill
// it with the thread that started it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

//go:build unix && !linux

package wire

import "syscall"

// attributes give the process a group of its own. There is no parent-death
// signal here: the lifeline alone ends the process with its host.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

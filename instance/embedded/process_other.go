//go:build unix && !linux

package embedded

import "syscall"

// bindToParent can only separate the process groups here: a killed parent
// leaves its children to the recovery of the next start.
func bindToParent(attr *syscall.SysProcAttr, _ syscall.Signal) { attr.Setpgid = true }

// dropTo makes the child run as a. There are no ambient capabilities here: a
// data folder below a closed parent needs another --data.
func dropTo(a *account, _ bool) *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
}

// processBegan cannot tell here, so nothing is taken for an earlier child.
func processBegan(int) string { return "" }

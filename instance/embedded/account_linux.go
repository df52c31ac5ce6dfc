package embedded

import "syscall"

// capDacReadSearch lets a process pass through folders it could not enter.
const capDacReadSearch = 2

func bindToParent(attr *syscall.SysProcAttr, onDeath syscall.Signal) {
	attr.Setpgid = true
	attr.Pdeathsig = onDeath
}

// dropTo makes the child run as a. With passClosed it keeps the one capability
// that lets it reach a data folder below a parent that only root may enter.
func dropTo(a *account, passClosed bool) *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
	if passClosed {
		attr.AmbientCaps = []uintptr{capDacReadSearch}
	}
	return attr
}

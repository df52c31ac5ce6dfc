package embedded

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

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

// processBegan is when a running process began, as the boot and the ticks
// since; empty for one that is gone.
func processBegan(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	// The name, in brackets, may hold anything; the fields after it do not.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return ""
	}
	return string(bytes.TrimSpace(boot)) + "/" + string(fields[19])
}

package embedded

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the ordinary user that servers run as when the caller is root,
// because PostgreSQL refuses root. A nil account is the caller's own.
type account struct{ uid, gid uint32 }

// serverAccount picks the user for a root caller: the owner of an existing
// data folder, so that it stays readable, else postgres, else nobody.
func serverAccount(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if info, err := os.Stat(data); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return &account{st.Uid, st.Gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &account{uint32(uid), uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL refuses to run as root and there is no user postgres or nobody: run as an ordinary user")
}

// own gives path to the account; nothing for the caller's own.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// owns says whether path is a folder that only the account can use: another
// user may have taken its name in a shared temporary folder.
func (a *account) owns(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid := uint32(os.Geteuid())
	if a != nil {
		uid = a.uid
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || st.Uid != uid || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s is not a private folder of ours", path)
	}
	return nil
}

// anyClosed says whether the account could not pass through a parent folder of
// one of the paths.
func (a *account) anyClosed(paths ...string) bool {
	if a == nil {
		return false
	}
	for _, path := range paths {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && !a.enters(info) {
				return true
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return false
}

func (a *account) enters(dir os.FileInfo) bool {
	mode := dir.Mode().Perm()
	st, ok := dir.Sys().(*syscall.Stat_t)
	switch {
	case ok && st.Uid == a.uid:
		return mode&0o100 != 0
	case ok && st.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

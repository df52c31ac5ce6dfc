package embedded

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetchedVersion is what is fetched where no PostgreSQL is installed.
const fetchedVersion = embeddedpostgres.V17

// findBinaries returns the folder that holds postgres and initdb: from PATH,
// the newest of Debian's versions, or fetched once into the user's cache.
func findBinaries() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		// The real folder: servers find their own files relative to it.
		if real, err := filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(real)) {
			return filepath.Dir(real), nil
		}
	}
	if dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin"); err == nil {
		for _, dir := range slices.Backward(dirs) {
			if complete(dir) {
				return dir, nil
			}
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL is installed and there is no cache folder to fetch one into: %w", err)
	}
	return fetchBinaries(filepath.Join(cache, "meridian", "postgres-"+string(fetchedVersion)))
}

func complete(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// fetchBinaries unpacks the published binaries below dir. embedded-postgres
// only offers to fetch as the first step of a start, so a throw-away server is
// started; for root that start fails at initdb, after the unpacking that we
// want, hence the judgement by what is there. Unpacking goes to a folder of
// our own that is renamed, so that two processes do not meet half of it.
func fetchBinaries(dir string) (string, error) {
	bin := filepath.Join(dir, "bin")
	if complete(bin) {
		return bin, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make the cache for PostgreSQL: %w", err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return "", fmt.Errorf("make the cache for PostgreSQL: %w", err)
	}
	defer os.RemoveAll(fresh) // what is left is only disc space
	if err := os.Chmod(fresh, 0o755); err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(fetchedVersion).Port(uint32(port)).Logger(io.Discard).
		CachePath(filepath.Join(fresh, "archive")).
		BinariesPath(filepath.Join(fresh, "unpacked")).
		RuntimePath(filepath.Join(fresh, "run")))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop()
	}
	if !complete(filepath.Join(fresh, "unpacked", "bin")) {
		return "", fmt.Errorf("no PostgreSQL is installed and fetching version %s failed (install the package postgresql, or allow repo1.maven.org): %w", fetchedVersion, startErr)
	}
	if err := os.Rename(filepath.Join(fresh, "unpacked"), dir); err != nil && !complete(bin) {
		return "", fmt.Errorf("keep the fetched PostgreSQL: %w", err)
	}
	return bin, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close() // nothing was written
	return l.Addr().(*net.TCPAddr).Port, nil
}

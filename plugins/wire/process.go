package wire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	pluginv1 "meridian/proto/gen/meridian/plugin/v1"

	"meridian/instance/crm"
	"meridian/plugins"
)

// Config says which binary to start and how.
type Config struct {
	Path   string // the binary
	SHA256 string // its digest in hex; any other binary is refused
	Log    *slog.Logger
	// StartTimeout bounds start, handshake and manifest; 10 s if zero.
	StartTimeout time.Duration
}

const (
	startTimeout = 10 * time.Second
	// killAfter is how long a process may take to end by itself. go-plugin's
	// own Kill waits 2 s, and for ever on a process that hangs.
	killAfter = 2500 * time.Millisecond
	// socketDir is the prefix of the folders that sockets lie in, followed by
	// the host's pid: short, because a socket's path is at most 107 bytes.
	socketDir = "mrdp-"
)

// Process is a running plugin; it is a plugins.Plugin. A Process is used once:
// after its end, start another.
type Process struct {
	*remote
	client  *goplugin.Client
	cmd     *exec.Cmd
	dir     string
	line    *os.File // the host's end of the lifeline
	stop    sync.Once
	stopped chan struct{}
}

var _ plugins.Plugin = (*Process)(nil)

// Start starts the binary and reads its manifest. It returns Invalid for a
// binary without the digest, Unavailable for one that does not come up.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	digest, err := hex.DecodeString(cfg.SHA256)
	if err != nil || len(digest) != sha256.Size {
		return nil, crm.Errorf(crm.Invalid, "plugin binary %s: the lock holds no SHA-256 of it; run make build", filepath.Base(cfg.Path))
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = startTimeout
	}
	if end, ok := ctx.Deadline(); ok { // go-plugin's start knows a timeout, not a context
		cfg.StartTimeout = min(cfg.StartTimeout, max(time.Until(end), time.Millisecond))
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	p, lifeline, err := prepare(cfg)
	if err != nil {
		return nil, crm.Errorf(crm.Unavailable, "start plugin %s: %w", filepath.Base(cfg.Path), err)
	}
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: versions(&bridge{}),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Cmd:              p.cmd,
		AutoMTLS:         true,
		SecureConfig:     &goplugin.SecureConfig{Checksum: digest, Hash: sha256.New()},
		SkipHostEnv:      true,
		StartTimeout:     cfg.StartTimeout,
		Logger:           bridgeLog(cfg.Log),
		SyncStdout:       outputLog(cfg.Log, "stdout"),
		SyncStderr:       outputLog(cfg.Log, "stderr"),
	})
	up := p.run(lifeline)
	defer func() {
		if err != nil { // nothing is left running, whatever failed after the fork
			p.Stop()
		}
	}()
	r := <-up
	if p.remote, err = r.remote, r.err; err == nil {
		err = p.describe(ctx)
	}
	switch {
	case err == nil:
		return p, nil
	case strings.Contains(err.Error(), goplugin.ErrChecksumsDoNotMatch.Error()):
		err = crm.Errorf(crm.Invalid, "plugin binary %s is not the one in the lock: %w", filepath.Base(cfg.Path), err)
	default:
		err = crm.Errorf(crm.Unavailable, "start plugin %s: %w", filepath.Base(cfg.Path), err)
	}
	return nil, err
}

// prepare makes the process's folder, its lifeline and its command. The
// command gets an environment of its own: none of the host's secrets.
func prepare(cfg Config) (*Process, *os.File, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, nil, err
	}
	sweep(tempDir())
	dir, err := os.MkdirTemp(tempDir(), socketDir+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, nil, err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		_ = os.Remove(dir)
		return nil, nil, err
	}
	cmd := exec.Command(path)
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.SysProcAttr = attributes()
	cmd.Env = []string{
		"GOMAXPROCS=1", // cheaper and faster on a small machine, see research/plugins.md section 4
		"TMPDIR=" + dir,
		goplugin.EnvUnixSocketDir + "=" + dir,
		lifelineEnv + "=3",
	}
	for _, name := range []string{"TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return &Process{cmd: cmd, dir: dir, line: ours, stopped: make(chan struct{})}, theirs, nil
}

type started struct {
	remote *remote
	err    error
}

// run starts the process from a thread that lives as long as the process:
// the kernel's parent-death signal is tied to the forking thread, not to the
// host as a whole.
func (p *Process) run(lifeline io.Closer) <-chan started {
	up := make(chan started, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err := p.dial()
		_ = lifeline.Close() // the plugin has its own copy, or never will
		up <- started{r, err}
		<-p.stopped
	}()
	return up
}

func (p *Process) dial() (*remote, error) {
	rpc, err := p.client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := rpc.Dispense(dispensed)
	if err != nil {
		return nil, err
	}
	r, ok := raw.(*remote)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T", raw)
	}
	return r, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended, by itself or by Stop.
func (p *Process) Done() <-chan struct{} { return p.ended }

// Check asks the process for its manifest, to tell a busy one from one that
// hangs.
func (p *Process) Check(ctx context.Context) error {
	_, err := p.remote.client.Describe(ctx, &pluginv1.DescribeRequest{})
	return fromStatus(err)
}

// Stop ends the process: politely, then by SIGKILL to its whole group. It
// returns once the process is gone; calls in flight fail.
func (p *Process) Stop() {
	p.stop.Do(func() {
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			p.client.Kill()
		}()
		select {
		case <-killed:
		case <-time.After(killAfter):
		}
		killGroup(p.cmd) // its own children too
		<-killed
		_ = p.line.Close()
		_ = os.RemoveAll(p.dir)
		close(p.stopped)
	})
	<-p.stopped
}

// Kill ends the process at once, for one that hangs or has ended already.
func (p *Process) Kill() {
	killGroup(p.cmd)
	p.Stop()
}

// tempDir is short enough for a socket below it.
func tempDir() string {
	if dir := os.TempDir(); len(dir) < 40 {
		return dir
	}
	return "/tmp"
}

// sweep removes what hosts that were killed left behind.
func sweep(temp string) {
	dirs, err := filepath.Glob(filepath.Join(temp, socketDir+"*-*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), socketDir), "-")
		if n, err := strconv.Atoi(pid); err == nil && !alive(n) {
			_ = os.RemoveAll(dir) // another user's stays: its owner sweeps it
		}
	}
}

// Package throwaway runs a PostgreSQL server of Debian's with data of its own: for `sallyport dev`, where there
// is a database to look at, and for tests.
package throwaway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrNone means that no PostgreSQL is installed where Debian puts it.
var ErrNone = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// A Server runs until Close.
type Server struct {
	Dir  string // of its socket
	cmd  *exec.Cmd
	died chan struct{}
}

// User is the superuser of every throwaway server.
const User = "postgres"

// URL is the superuser's login to a database, by the socket.
func (s *Server) URL(database string) string {
	return "postgres://" + User + "@/" + database + "?host=" + s.Dir
}

// bin is where the newest version's programs are.
func bin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return "", ErrNone
	}
	slices.SortFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return found[len(found)-1], nil
}

// Start makes a cluster and starts it. It listens on a socket alone, and ends with this program.
func Start(ctx context.Context, log string) (*Server, error) {
	bin, err := bin()
	if err != nil {
		return nil, err
	}
	// A socket's path is short, and another user must get there.
	dir, err := os.MkdirTemp("/tmp", "sallyport-pg")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, died: make(chan struct{})}
	if err := s.start(ctx, bin, log); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// attributes let a child run as somebody whom PostgreSQL agrees to run as, who owns dir.
func attributes(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT, Setpgid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	const nobody = 65534
	attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return attr, os.Chown(dir, nobody, nobody)
}

func (s *Server) start(ctx context.Context, bin, log string) error {
	attr, err := attributes(s.Dir)
	if err != nil {
		return err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", s.Dir+"/data", "-U", User, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, s.Dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	// Sessions of the gate prove themselves with the password that was made for them; the socket's owner may
	// be anybody.
	hba := "local all " + User + ",gate trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(s.Dir+"/data/pg_hba.conf", []byte(hba), 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", s.Dir+"/data", "-k", s.Dir, "-c", "listen_addresses=",
		"-c", "shared_buffers=32MB", "-c", "fsync=off", "-c", "max_connections=600")
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = attr, s.Dir, out, out
	started := make(chan error, 1)
	// The server is told to end with the thread that started it, so that thread must stay.
	go func() {
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // ended by Close, or its log says why
		}
		close(s.died)
	}()
	if err := <-started; err != nil {
		return err
	}
	if err := s.ready(ctx, bin); err != nil {
		s.stop()
		return err
	}
	return nil
}

// ready waits until it takes connections.
func (s *Server) ready(ctx context.Context, bin string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if exec.CommandContext(ctx, filepath.Join(bin, "pg_isready"), "-q", "-h", s.Dir, "-U", User).Run() == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.died:
			return errors.New("PostgreSQL ended at once; its log says why")
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not take connections: %w", ctx.Err())
		}
	}
}

func (s *Server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // at once: its data is thrown away
	<-s.died
}

// Close ends it and throws its data away.
func (s *Server) Close() error {
	s.stop()
	return os.RemoveAll(s.Dir)
}

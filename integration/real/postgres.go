// Package real starts the real counterparts that tests are judged by: PostgreSQL and MinIO, each with data of
// its own, on a socket or a free loopback port, gone with the test. It is for tests alone.
package real

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Postgres is a real server with data of its own, reached by a unix socket.
type Postgres struct {
	dir  string
	cmd  *exec.Cmd
	died chan struct{}
}

// URL names one of its databases; "postgres" is always there.
func (p *Postgres) URL(database string) string {
	return "postgres:///" + database + "?user=tester&host=" + url.QueryEscape(p.dir)
}

// StartPostgres starts the newest PostgreSQL of Debian's. Call it from a goroutine that is locked to its
// thread until Stop: the server is killed when the thread that started it ends.
func StartPostgres() (*Postgres, error) {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		return nil, errors.New("no PostgreSQL in /usr/lib/postgresql: run make test, or apt-get install postgresql")
	}
	slices.SortFunc(bins, func(a, b string) int { return len(a) - len(b) })
	bin := bins[len(bins)-1]
	// A socket's path is short, and another user must get there.
	dir, err := os.MkdirTemp("/tmp", "postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir}
	attr, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "tester", "-A", "trust", "-E", "UTF8",
		"--no-locale", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", dir+"/data", "-k", dir, "-c", "listen_addresses=", "-c", "shared_buffers=32MB")
	p.cmd.SysProcAttr, p.cmd.Dir = attr, dir
	started := &waitFor{text: "ready to accept connections", found: make(chan struct{})}
	p.cmd.Stderr = started
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.died = make(chan struct{})
	go func() { p.cmd.Wait(); close(p.died) }()
	select {
	case <-started.found:
		return p, nil
	case <-p.died:
		return nil, fmt.Errorf("postgres ended: %s", started.String())
	}
}

// unprivileged lets a child run as somebody PostgreSQL agrees to run as, who owns dir.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	const nobody = 65534
	attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return attr, os.Chown(dir, nobody, nobody)
}

// Stop ends it at once and throws its data away.
func (p *Postgres) Stop() {
	p.cmd.Process.Signal(syscall.SIGQUIT) // at once: its data is thrown away
	<-p.died
	os.RemoveAll(p.dir)
}

// waitFor is a log that tells when a text has come by.
type waitFor struct {
	text  string
	found chan struct{}
	buf   bytes.Buffer
	done  bool
}

func (w *waitFor) Write(p []byte) (int, error) {
	if !w.done {
		w.buf.Write(p)
		if strings.Contains(w.buf.String(), w.text) {
			w.done = true
			close(w.found)
		}
	}
	return len(p), nil
}

func (w *waitFor) String() string { return w.buf.String() }

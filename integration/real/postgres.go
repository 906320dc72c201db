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

// Postgres is a real server with data of its own, reached by a unix socket, or by TLS.
type Postgres struct {
	dir  string
	port string // on the loopback interface; "": none
	cmd  *exec.Cmd
	died chan struct{}
}

// URL names one of its databases; "postgres" is always there.
func (p *Postgres) URL(database string) string {
	return "postgres:///" + database + "?user=tester&host=" + url.QueryEscape(p.dir)
}

// Dir holds its socket, and with TLS server.crt, which proves it.
func (p *Postgres) Dir() string { return p.dir }

// TLS names one of its databases by TLS; more are further parameters, user among them.
func (p *Postgres) TLS(database, more string) string {
	return "postgres://localhost:" + p.port + "/" + database + "?sslmode=verify-full&sslrootcert=" + p.dir + "/server.crt&" + more
}

// StartPostgres starts the newest PostgreSQL of Debian's. Call it from a goroutine that is locked to its
// thread until Stop: the server is killed when the thread that started it ends.
func StartPostgres() (*Postgres, error) { return startPostgres(nil) }

// StartPostgresTLS starts one that takes connections by TLS too, from whoever has a certificate of clients, which is
// PEM, in the name of the role; and from the role gate, if there is one, without.
func StartPostgresTLS(clients []byte) (*Postgres, error) { return startPostgres(clients) }

func startPostgres(clients []byte) (*Postgres, error) {
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
	options := []string{"-D", dir + "/data", "-k", dir, "-c", "shared_buffers=32MB", "-c", "fsync=off"}
	if clients == nil {
		options = append(options, "-c", "listen_addresses=")
	} else {
		more, err := p.prepareTLS(clients, attr)
		if err != nil {
			return nil, err
		}
		options = append(options, more...)
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), options...)
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

// TrustClients makes it take the certificates of another authority, a moment later.
func (p *Postgres) TrustClients(ca []byte) error {
	if err := os.WriteFile(p.dir+"/clients.crt", ca, 0o600); err != nil {
		return err
	}
	return p.cmd.Process.Signal(syscall.SIGHUP)
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

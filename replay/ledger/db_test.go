package ledger_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// The suite runs on both databases: each test of it takes a function that gives the URL of a new, empty
// database.
func onBoth(t *testing.T, f func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, newSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, newPostgres(t)) })
}

func open(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func newSQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
}

var (
	server    *postgres // the one of this test binary
	serverErr error
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	runtime.LockOSThread() // the server is killed when the thread that started it ends
	server, serverErr = startPostgres()
	code := m.Run()
	if server != nil {
		server.stop()
	}
	os.Exit(code)
}

// newPostgres gives the URL of a new database on the real server.
func newPostgres(t testing.TB) string {
	t.Helper()
	if serverErr != nil {
		if testing.Short() {
			t.Skip(serverErr)
		}
		t.Fatal(serverErr)
	}
	name := fmt.Sprintf("ledger%d", databases.Add(1))
	conn, err := pgx.Connect(t.Context(), server.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return server.url(name)
}

// postgres is a real server with data of its own, reached by a unix socket.
type postgres struct {
	dir  string
	cmd  *exec.Cmd
	died chan struct{}
}

func (p *postgres) url(database string) string {
	return "postgres:///" + database + "?user=tester&host=" + url.QueryEscape(p.dir)
}

func startPostgres() (*postgres, error) {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		return nil, errors.New("no PostgreSQL in /usr/lib/postgresql: run make test, or apt-get install postgresql")
	}
	slices.SortFunc(bins, func(a, b string) int { return len(a) - len(b) })
	bin := bins[len(bins)-1]
	// A socket's path is short, and another user must get there.
	dir, err := os.MkdirTemp("/tmp", "ledger")
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir}
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

func (p *postgres) stop() {
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

// tamper changes a database behind the ledger's back.
func tamper(t testing.TB, url string, statements ...string) {
	t.Helper()
	driver, dsn := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

package ledger_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, url, want string }{
		{"nothing", "", "want a URL"},
		{"a path", "/var/lib/ledger.db", "want a URL"},
		{"another database", "mysql://root:s3cret@host/db", "want a URL"},
		{"no path", "sqlite:", "path of a file"},
		{"a host", "sqlite://host/x", "path of a file"},
		{"no folder", "sqlite:" + dir + "/no/ledger.db", "no such file"},
		{"a folder", "sqlite:" + dir, "is a directory"},
		{"a device", "sqlite:/dev/null", "not a file"},
		{"no database", "sqlite:" + garbage, "not a database"},
		{"bad URL", "postgres://u:s3cret@host:notaport/db", "postgres://u:xxxxx@host:notaport"},
		{"nobody there", "postgres://u:s3cret@127.0.0.1:1/db", "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ledger.Open(t.Context(), tt.url)
			if err == nil {
				l.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells the password: %q", err)
			}
		})
	}
}

func TestSQLiteFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ledger.db", "odd ?#%41é&name.db"} {
		path := filepath.Join(dir, name)
		if name == "ledger.db" { // made by somebody with a generous umask
			if err := os.WriteFile(path, nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		l := open(t, "sqlite:"+path)
		start(t, l, session(1))
		for _, suffix := range []string{"", "-wal", "-shm"} {
			fi, err := os.Stat(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if fi.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path+suffix, fi.Mode())
			}
		}
	}
}

// A second start finds what the first stored and changes nothing.
func TestReopen(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		first, err := ledger.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		start(t, first, session(1))
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		l := open(t, url)
		if _, err := l.Session(t.Context(), session(1).ID); err != nil {
			t.Error(err)
		}
		if err := l.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefusesNewerTables(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		open(t, url)
		tamper(t, url, "INSERT INTO ledger_version (version_id, is_applied) VALUES (999, '1')")
		l, err := ledger.Open(t.Context(), url)
		if err == nil {
			l.Close()
			t.Fatal("opened")
		}
		wantErr(t, err, ledger.ErrNewer)
		if !strings.Contains(err.Error(), "version 999") {
			t.Errorf("error %q does not say which version", err)
		}
	})
}

// Several gates that start at once on a new database make its tables once.
func TestOpenTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() {
				l, err := ledger.Open(t.Context(), url)
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				if err := l.StartSession(t.Context(), session(n)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

const writerEnv = "LEDGER_TEST_WRITER"

// TestWriter is the other process of TestKill: it says what it stored, until it is killed.
func TestWriter(t *testing.T) {
	url := os.Getenv(writerEnv)
	if url == "" {
		return // it is TestKill that gives it something to do
	}
	l := open(t, url)
	for n := 0; ; n++ {
		s := session(n)
		start(t, l, s)
		for i := range int64(5) {
			if err := l.AddOperation(t.Context(), operation(s.ID, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.EndSession(t.Context(), s.ID, end(n)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("stored %d\n", n)
	}
}

// kill -9 at any moment loses nothing that a method said was stored, and leaves the file whole.
func TestKill(t *testing.T) {
	for round := range 5 {
		dir := t.TempDir()
		url := "sqlite:" + filepath.Join(dir, "ledger.db")
		last := killed(t, url, 3+17*round)
		l := open(t, url)
		ids, err := l.SweepSessions(t.Context(), "gate1")
		if err != nil || len(ids) > 1 {
			t.Errorf("live after the kill: %q, %v", ids, err)
		}
		for n := range last + 1 {
			s, err := l.Session(t.Context(), session(n).ID)
			if err != nil || s.State != ledger.Complete || s.Operations != 5 {
				t.Fatalf("session %d of %d: %+v, %v", n, last, s, err)
			}
		}
		if r := verifySeals(t, l); len(r.Problems) > 0 || r.Checked < int64(last+1) {
			t.Errorf("seals after the kill: %+v", r)
		}
	}
}

// killed runs a writer until it has said stored often enough, kills it, and returns the last it said.
func killed(t *testing.T, url string, often int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
	cmd.Env = append(os.Environ(), writerEnv+"="+url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "stored %d", &last); err != nil {
			t.Errorf("writer: %s", lines.Text())
		}
		if last == often {
			cmd.Process.Kill() // and read what it said before it noticed
		}
	}
	cmd.Wait() // killed
	if last < often {
		t.Fatalf("the writer ended after %d", last)
	}
	return last
}

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A tour is `sallyport dev` with its database, as somebody who tries it out has it.
type tour struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	out  *lockedBuffer
	left chan error
}

// startTour starts it; more is added to its configuration.
func startTour(t *testing.T, more string) *tour {
	t.Helper()
	if _, err := os.Stat("/usr/lib/postgresql"); err != nil {
		t.Fatalf("%v; `make test` installs PostgreSQL", err)
	}
	d := &tour{t: t, dir: filepath.Join(t.TempDir(), "d"), out: new(lockedBuffer), left: make(chan error, 1)}
	args := []string{"dev", "--dir", d.dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0"}
	if more != "" {
		file := filepath.Join(t.TempDir(), "more.yaml")
		if err := os.WriteFile(file, []byte(more), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	d.cmd = exec.Command(filepath.Join(bin, "sallyport"), args...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.left <- d.cmd.Wait() }() // received below
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGINT)
		if err := <-d.left; err != nil {
			t.Errorf("the gate ended with %v\n%s", err, d.out)
		}
	})
	d.until("the gate is ready", func() bool { return strings.Contains(d.out.String(), "Ctrl-C stops") })
	if strings.Contains(d.out.String(), "There is no target db") {
		t.Fatal(d.out)
	}
	return d
}

func (d *tour) until(what string, yes func() bool) {
	d.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-late.C:
			d.t.Fatalf("%s: not in time\n%s", what, d.out)
		}
	}
}

// ssh is a command of OpenSSH's as one of the users.
func (d *tour) ssh(user string, args ...string) *exec.Cmd {
	return exec.CommandContext(d.t.Context(), "ssh", append([]string{"-F", filepath.Join(d.dir, user, "ssh_config")}, args...)...)
}

// run runs it and returns what it says, and its exit status.
func (d *tour) run(stdin, user string, args ...string) (stdout, stderr string, status int) {
	d.t.Helper()
	c := d.ssh(user, args...)
	var out, errs strings.Builder
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// through is a connection of pgx through `ssh -W`.
func (d *tour) through(user, more string) *pgx.Conn {
	d.t.Helper()
	config, err := pgx.ParseConfig("host=db dbname=shop user=clerk sslmode=disable " + more)
	if err != nil {
		d.t.Fatal(err)
	}
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"db"}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return d.pipe(user) }
	c, err := pgx.ConnectConfig(d.t.Context(), config)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// pipe is `ssh -W db:5432 gate` as a connection.
func (d *tour) pipe(user string) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := d.ssh(user, "-W", "db:5432", "gate")
	c.Stdin, c.Stdout = theirs, theirs
	if err := c.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go c.Wait() // ends with the connection
	return ours, nil
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "ours")
	defer f.Close() // FileConn takes a descriptor of its own
	c, err := net.FileConn(f)
	return c, os.NewFile(uintptr(fds[1]), "theirs"), err
}

// TestPostgres is the tour's database by every road.
func TestPostgres(t *testing.T) {
	d := startTour(t, "")
	t.Run("exec", func(t *testing.T) {
		for _, command := range []string{"select * from customers limit 3", "psql -c 'select * from customers limit 3'", "psql -c \"select * from customers limit 3\""} {
			out, errs, status := d.run("", "agent", "db", command)
			if status != 0 || !strings.Contains(out, "(3 rows)") || !strings.Contains(out, "j****.") || strings.Contains(out, "@example") {
				t.Errorf("%s: %d, %q, %q", command, status, out, errs)
			}
		}
		// OpenSSH itself takes a -c behind the host for a cipher; behind -- it is the command's.
		if out, errs, status := d.run("", "agent", "db", "--", "-c", "'select 41 + 1'"); status != 0 || !strings.Contains(out, "42") {
			t.Errorf("%d, %q, %q", status, out, errs)
		}
		if _, errs, status := d.run("", "agent", "db", "select nonsense"); status != 1 || !strings.Contains(errs, "nonsense") {
			t.Errorf("a wrong statement: %d, %q", status, errs)
		}
	})
	t.Run("stdin", func(t *testing.T) {
		out, errs, status := d.run("select 6 * 7 as answer;\n\\d cards\n", "agent", "db")
		if status != 0 || !strings.Contains(out, "42") || !strings.Contains(out, `Table "public.cards"`) {
			t.Errorf("%d, %q, %q", status, out, errs)
		}
	})
	t.Run("jail", func(t *testing.T) {
		out, _, _ := d.run("\\! ls /run/postgresql /home /root /tmp; cat /etc/shadow; id -u; ls -d /proc/[0-9]* | wc -l\n\\! echo > /tmp/mine && echo wrote\nselect 1 as still;\n", "developer", "db")
		if strings.Contains(out, "root:") || strings.Contains(out, ".s.PGSQL") || !strings.Contains(out, "1000") || !strings.Contains(out, "still") {
			t.Errorf("got %q", out)
		}
		if _, err := os.Stat("/tmp/mine"); err == nil {
			t.Error("psql writes to the gate's /tmp")
		}
	})
	t.Run("copy", func(t *testing.T) {
		out, errs, _ := d.run("\\copy (select number from cards limit 1) to stdout\n\\copy orders from stdin csv\n90001,1001,5.00,2026-01-01,true\n\\.\nselect count(*) from orders where id = 90001;\n", "developer", "db")
		if !strings.Contains(out, "*") || !strings.Contains(out, "     1\n") {
			t.Errorf("got %q, %q", out, errs)
		}
	})
	t.Run("-W", func(t *testing.T) {
		c := d.through("agent", "")
		var number string
		if err := c.QueryRow(t.Context(), "select number from cards where id = $1", 1).Scan(&number); err != nil || !strings.HasPrefix(number, "****") {
			t.Errorf("got %q, %v", number, err)
		}
		var pg *pgconn.PgError
		if _, err := c.Exec(t.Context(), "select 1 / $1::int", 0); !errors.As(err, &pg) || pg.Code != "22012" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("-L with TLS", func(t *testing.T) {
		port := d.listen("developer", "-L", "%s:db:5432")
		root := filepath.Join(d.dir, "ca/x509_root.crt")
		out, err := exec.CommandContext(t.Context(), "psql", "host=localhost port="+port+" sslmode=verify-full sslrootcert="+root, "-Atc", "select 'in'").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "in" {
			t.Errorf("%v: %s\n%s", err, out, d.out)
		}
		out, err = exec.CommandContext(t.Context(), "psql", "host=127.0.0.1 port="+port, "-c", `\d`, "-c", `\dt+`, "-c", `\df`, "-c", `\l`, "-c", `\du`, "-c", `\d+ spending`, "-c", `\dn`, "-c", `\dp`).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "spending") || strings.Contains(string(out), "ERROR") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("-D", func(t *testing.T) {
		port := d.listen("developer", "-D", "%s")
		config, err := pgx.ParseConfig("host=db dbname=shop user=owner sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"db"}, nil }
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return socks(port, "db", 5432) }
		c, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		var role string
		if err := c.QueryRow(t.Context(), "select current_user").Scan(&role); err != nil || role != "owner" {
			t.Errorf("%q, %v", role, err)
		}
		if _, err := socks(port, "db", 5433); err == nil {
			t.Error("another port of the target's was let through")
		}
	})
	t.Run("held", func(t *testing.T) {
		c := d.ssh("agent", "db", "delete from orders")
		var out lockedBuffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		id := ""
		d.until("it is held", func() bool {
			_, rest, ok := strings.Cut(out.String(), ", request ")
			if ok && len(rest) >= 9 {
				id = rest[:8]
			}
			return id != ""
		})
		shown, errs, status := d.run("", "approver", "gate", "approve", id)
		if status != 0 || !strings.Contains(shown, "delete from orders") {
			t.Errorf("approve: %d, %q, %q", status, shown, errs)
		}
		if err := c.Wait(); err != nil || !strings.Contains(out.String(), "DELETE 111") {
			t.Errorf("%v, %q", err, out.String())
		}
	})
	t.Run("many", d.many)
	t.Run("record", func(t *testing.T) {
		c := d.through("agent", "")
		if _, err := c.Exec(t.Context(), "select id, number as it_plays from cards where id < $1", 4); err != nil {
			t.Fatal(err)
		}
		c.Close(t.Context())
		shown := ""
		d.until("the session plays", func() bool {
			rows, _, _ := d.run("", "approver", "gate", "sessions", "--json")
			var sessions []struct{ ID, Target string }
			if err := json.Unmarshal([]byte(rows), &sessions); err != nil {
				t.Fatalf("%v: %s", err, rows)
			}
			for _, s := range sessions {
				if s.Target == "db" {
					if shown, _, _ = d.run("", "approver", "gate", "play", s.ID, "1000"); strings.Contains(shown, "it_plays") {
						return strings.Contains(shown, "(3 rows)")
					}
				}
			}
			return false
		})
		if !strings.Contains(shown, "$1 = 4") || !strings.Contains(shown, " | ****") {
			t.Errorf("it plays %q", shown)
		}
		file := filepath.Join(d.dir, "sallyport.yaml")
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "sallyport"), "verify", "--all", "--config", file).CombinedOutput()
		if err != nil {
			t.Errorf("verify: %v: %s", err, out)
		}
	})
}

// many runs one statement often: the ledger has few rows, which say all there is to say, and the recording has each.
func (d *tour) many(t *testing.T) {
	c := d.through("agent", "application_name=many")
	const times = 300
	batch := &pgx.Batch{}
	for i := range times {
		batch.Queue("select 4000 + $1::int", 1000+i).QueryRow(func(row pgx.Row) error {
			var n int
			if err := row.Scan(&n); err != nil || n != 5000+i {
				return fmt.Errorf("%d, %w", n, err)
			}
			return nil
		})
	}
	if err := c.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	for i := range times {
		var n int
		if err := c.QueryRow(t.Context(), fmt.Sprintf("select %d", 70000+i), pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil || n != 70000+i {
			t.Fatalf("%d, %v", n, err)
		}
	}
	c.Close(t.Context())
	var s struct {
		ID, State  string
		Operations int
	}
	d.until("the session has ended", func() bool {
		rows, _, _ := d.run("", "approver", "gate", "sessions", "--json")
		var sessions []struct {
			ID, State, Target string
			Operations        int
		}
		if err := json.Unmarshal([]byte(rows), &sessions); err != nil {
			t.Fatalf("%v: %s", err, rows)
		}
		for _, one := range sessions {
			if one.Target == "db" && one.Operations > 2*times {
				s.ID, s.State, s.Operations = one.ID, one.State, one.Operations
				return one.State == "complete"
			}
		}
		return false
	})
	file := filepath.Join(d.dir, "sallyport.yaml")
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "sallyport"), "sessions", "show", s.ID, "--json", "--config", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), `"text": "select 4000 + $1`); n == 0 || n >= times {
		t.Errorf("the ledger says it %d times for %d statements that came at once", n, times)
	}
	shown, _, _ := d.run("", "approver", "gate", "play", s.ID, "1000")
	for i := range times {
		for _, want := range []string{fmt.Sprintf("$1 = %d", 1000+i), fmt.Sprint(70000 + i)} {
			if !strings.Contains(string(out), want) {
				t.Errorf("the ledger lacks %s", want)
			}
		}
		if want := fmt.Sprintf("select %d;", 70000+i); !strings.Contains(shown, want) {
			t.Errorf("the recording lacks %s", want)
		}
	}
}

// listen runs ssh with a listening option, and returns its port.
func (d *tour) listen(user, option, format string) string {
	d.t.Helper()
	addr := freeAddr(d.t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		d.t.Fatal(err)
	}
	c := d.ssh(user, "-N", option, fmt.Sprintf(format, port), "gate")
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	d.until("ssh listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return port
}

// socks asks a SOCKS5 proxy for a host by its name (RFC 1928).
func socks(port, host string, to uint16) (net.Conn, error) {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	b := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	if _, err := c.Write(append(b, byte(to>>8), byte(to))); err != nil {
		return nil, err
	}
	answer := make([]byte, 2+10)
	if _, err := io.ReadFull(c, answer[:4]); err != nil || answer[3] != 0 {
		c.Close()
		return nil, fmt.Errorf("refused: %v %v", answer[:4], err)
	}
	_, err = io.ReadFull(c, answer[4:])
	return c, err
}

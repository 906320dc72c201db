package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-ssh/sallyport/shells/postgres/throwaway"
)

// A database is the real PostgreSQL that is reached in four ways: by the gate, by its own socket, through
// `ssh -L` of OpenSSH's sshd, and through pgbouncer.
type database struct {
	server *throwaway.Server
	ways   [4]*way // nil: not there
}

// Of database.ways, and of the columns of its tables.
const (
	byGate = iota
	byItself
	byTunnel
	byBouncer
)

// databaseHeads are over the columns of its tables.
var databaseHeads = [4]string{"gate", "direct", "ssh -L", "pgbouncer"}

// A way is how a client reaches the database.
type way struct {
	host, port, user string
	proc             *proc // whose CPU time counts; nil: nobody stands between
}

const (
	databaseName  = "bench"
	databaseLogin = "clerk"
	people        = 200_000 // rows of the table that is selected and copied
)

func (w *way) url() string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%s&sslmode=disable", w.user, databaseName, w.host, w.port)
}

// startDatabase starts PostgreSQL, and fills it, before the gate is told of it.
func (st *stage) startDatabase(ctx context.Context) error {
	db, err := throwaway.Start(ctx, filepath.Join(st.dir, "postgres.log"))
	if err != nil {
		return err
	}
	st.db = &database{server: db}
	st.db.ways[byItself] = &way{host: db.Dir, port: "5432", user: throwaway.User}
	for _, text := range []string{"CREATE ROLE gate LOGIN CREATEROLE; CREATE ROLE clerk; GRANT clerk TO gate WITH ADMIN OPTION", "CREATE DATABASE bench"} {
		if err := st.db.run(ctx, "postgres", text); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "pgbench", "-i", "-q", "-h", db.Dir, "-U", throwaway.User, databaseName).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgbench -i: %w: %s", err, out)
	}
	return st.db.run(ctx, databaseName, fmt.Sprintf(peopleTable, people))
}

// peopleTable has an address that detectors find, and two columns that the target protects.
const peopleTable = `CREATE TABLE people AS SELECT i AS id, 'Person number ' || i AS name, 'user' || i || '@example.com' AS email,
	'4' || lpad((i::bigint * 7919 %% 1000000000000000)::text, 15, '0') AS card, to_char(100 + i %% 800, 'FM000') || '-12-' || to_char(i %% 10000, 'FM0000') AS ssn,
	date '2020-01-01' + i %% 2000 AS since FROM generate_series(1, %d) i;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk; ANALYZE`

func (db *database) run(ctx context.Context, name, text string) error {
	c, err := pgconn.Connect(ctx, db.server.URL(name))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.Exec(ctx, text).ReadAll()
	return err
}

// target is the database in the gate's configuration.
func (db *database) target() map[string]any {
	return map[string]any{"name": "pg", "kind": "postgres", "postgres": map[string]any{
		"url": "postgres://gate@/" + databaseName + "?host=" + db.server.Dir, "logins": []string{databaseLogin},
		"protected": []any{map[string]any{"column": "public.people.card", "style": "last4"}, map[string]any{"column": "public.people.ssn"}},
	}}
}

// dig makes the other ways to the database, when the servers run.
func (st *stage) dig(ctx context.Context) error {
	var err error
	if st.db.ways[byGate], err = st.tunnel(ctx, "gate", st.gate); err != nil {
		return err
	}
	if st.db.ways[byTunnel], err = st.tunnel(ctx, "openssh", st.openssh); err != nil {
		return err
	}
	st.db.ways[byBouncer], err = st.startBouncer(ctx)
	return err
}

// tunnel runs OpenSSH's client with a forward to the database through s.
func (st *stage) tunnel(ctx context.Context, name string, s *server) (*way, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	w := &way{host: host, port: port, user: throwaway.User, proc: s.proc}
	sshHost, sshPort, err := net.SplitHostPort(s.box.Addr)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(st.db.server.Dir, ".s.PGSQL.5432")
	login := s.box.User
	if s.box.Cert != "" {
		to, login, w.user = "pg:5432", "gate", databaseLogin
	}
	args := []string{"-F", "none", "-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "Ciphers=aes128-gcm@openssh.com",
		"-o", "KexAlgorithms=" + st.kex[len(st.kex)-1], "-o", "IdentitiesOnly=yes", "-i", s.box.Key, "-o", "UserKnownHostsFile=" + s.box.KnownHosts,
		"-o", "HostKeyAlias=" + s.box.HostName, "-o", "StrictHostKeyChecking=yes", "-p", sshPort, "-l", login, "-L", addr + ":" + to, sshHost}
	p, _, err := st.start("ssh -L by "+name, exec.Command("ssh", args...))
	if err != nil {
		return nil, err
	}
	return w, w.await(ctx, p)
}

// startBouncer runs pgbouncer, which pools connections and looks at nothing.
func (st *stage) startBouncer(ctx context.Context) (*way, error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path = "/usr/sbin/pgbouncer"; !exists(path) {
			fmt.Fprintln(st.log, "bench: pgbouncer is not installed: its column stays empty")
			return nil, nil
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ini := filepath.Join(st.data(), "pgbouncer.ini") // where another user gets to
	text := fmt.Sprintf("[databases]\n%[1]s = host=%[2]s dbname=%[1]s user=%[3]s\n[pgbouncer]\nlisten_addr = %[4]s\nlisten_port = %[5]s\nunix_socket_dir =\nauth_type = any\npool_mode = session\nmax_client_conn = 1000\n",
		databaseName, st.db.server.Dir, throwaway.User, host, port)
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		return nil, err
	}
	args := []string{"-q", ini}
	if os.Getuid() == 0 {
		args = []string{"-q", "-u", "nobody", ini}
	}
	p, _, err := st.start("pgbouncer", exec.Command(path, args...))
	if err != nil {
		return nil, err
	}
	w := &way{host: host, port: port, user: throwaway.User, proc: p}
	return w, w.await(ctx, p)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// await waits until the database can be logged in to through p.
func (w *way) await(ctx context.Context, p *proc) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		c, err := pgconn.Connect(ctx, w.url())
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not reach the database: %w\n%s", p.name, err, p.err)
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A databaseTrial measures one way for about slice.
type databaseTrial func(ctx context.Context, w *way, slice time.Duration) (sample, error)

// databaseSamples are what was found, by way.
type databaseSamples [4][]sample

// by runs t for each way in each round, beginning with another one each time.
func (b *bench) by(ctx context.Context, slice time.Duration, t databaseTrial) (took databaseSamples, err error) {
	for round := range b.rounds {
		for i := range b.db.ways {
			at := (i + round) % len(b.db.ways)
			if b.db.ways[at] == nil {
				continue
			}
			s, err := b.tryWay(ctx, b.db.ways[at], slice, t)
			if err != nil {
				return took, fmt.Errorf("%s: %w", databaseHeads[at], err)
			}
			took[at] = append(took[at], s)
		}
	}
	return took, nil
}

func (b *bench) tryWay(ctx context.Context, w *way, slice time.Duration, t databaseTrial) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	var before, after usage
	if w.proc != nil {
		if before, err = w.proc.settle(ctx); err != nil {
			return s, err
		}
	}
	if s, err = t(ctx, w, slice); err != nil {
		return s, err
	}
	if s.amount == 0 {
		return s, errNothing
	}
	if w.proc != nil {
		after, err = w.proc.settle(ctx)
	}
	s.cpu = usage{all: after.all - before.all, own: after.own - before.own}
	return s, err
}

// row is f of each way's samples.
func (took databaseSamples) row(what, unit string, more bool, f func([]sample) float64, a aim) row {
	r := row{What: what, Unit: unit, More: more, Aim: a}
	var v [4]float64
	for i, s := range took {
		if len(s) > 0 {
			v[i] = f(s)
		}
	}
	r.Value, r.Fourth = [3]float64(v[:3]), v[3]
	return r
}

// withDatabase is a measurement that needs one.
func withDatabase(measure func(*bench, context.Context) error) func(*bench, context.Context) error {
	return func(b *bench, ctx context.Context) error {
		if b.db == nil {
			return errors.New("there is no PostgreSQL: apt-get install postgresql")
		}
		return measure(b, ctx)
	}
}

func (b *bench) statements(ctx context.Context) error {
	t := b.report.table("PostgreSQL: short statements",
		"`ssh -L` of the same client to the gate, which decides on each, masks and records, and to OpenSSH's sshd; the socket itself; pgbouncer.")
	t.Heads = databaseHeads
	slice := max(3*b.slice, 4*time.Second) // pgbench counts in seconds, and those in which it connects
	tunnel := aim{"0.9x of ssh -L", func(r row) bool { return r.Value[byGate] >= 0.9*r.Value[byTunnel] }}
	for _, mode := range []string{"prepared", "simple"} {
		took, err := b.by(ctx, slice, pgbench(mode))
		if err != nil {
			return err
		}
		t.add(took.row("pgbench -S, 8 clients, "+mode, "/s", true, perSecond, tunnel))
		t.add(took.row("CPU of what stands between", "us each", false, func(s []sample) float64 { return 1000 * cpuEach(s) }, aim{}))
	}
	took, err := b.by(ctx, b.slice, oneByOne)
	if err != nil {
		return err
	}
	t.add(took.row("one prepared statement, p50", "us", false, func(s []sample) float64 { return 1000 * quantile(0.5)(s) },
		aim{"< 100 us over ssh -L", func(r row) bool { return r.Value[byGate]-r.Value[byTunnel] < 100 }}))
	return nil
}

// pgbench runs the real one, which selects one row by its key.
func pgbench(mode string) databaseTrial {
	return func(ctx context.Context, w *way, slice time.Duration) (s sample, err error) {
		cmd := exec.CommandContext(ctx, "pgbench", "-S", "-n", "-c", strconv.Itoa(clients), "-M", mode, "-T", strconv.Itoa(int(slice.Seconds()+0.5)),
			"-h", w.host, "-p", w.port, "-U", w.user, databaseName)
		cmd.Env = append(os.Environ(), "PGSSLMODE=disable") // once encrypted is enough, and the same for all
		out, err := cmd.CombinedOutput()
		if err != nil {
			return s, fmt.Errorf("pgbench: %w: %s", err, out)
		}
		return readPgbench(out)
	}
}

// oneByOne runs a prepared statement again and again, and waits for each answer.
func oneByOne(ctx context.Context, w *way, slice time.Duration) (s sample, err error) {
	c, err := pgconn.Connect(ctx, w.url())
	if err != nil {
		return s, err
	}
	defer c.Close(ctx)
	if _, err := c.Prepare(ctx, "one", "SELECT abalance FROM pgbench_accounts WHERE aid = $1", nil); err != nil {
		return s, err
	}
	begun := time.Now()
	for i := 0; i < few || time.Since(begun) < slice; i++ {
		at := time.Now()
		r := c.ExecPrepared(ctx, "one", [][]byte{strconv.AppendInt(nil, int64(1+i%100_000), 10)}, nil, nil).Read()
		if r.Err != nil {
			return s, r.Err
		}
		if len(r.Rows) != 1 {
			return s, fmt.Errorf("%d rows where one was asked for", len(r.Rows))
		}
		s.waits = append(s.waits, time.Since(at))
	}
	s.amount, s.took = float64(len(s.waits)), time.Since(begun)
	return s, nil
}

func (b *bench) rows(ctx context.Context) error {
	t := b.report.table(fmt.Sprintf("PostgreSQL: a table of %d people, of whom address, card and social security number are masked", people))
	t.Heads = databaseHeads
	took, err := b.by(ctx, b.slice, selectAll)
	if err != nil {
		return err
	}
	rate := took.row("select of all", "rows/s", true, perSecond, aim{"1 million, 1.5x of ssh -L", func(r row) bool {
		return r.Value[byGate] >= 1e6 && 1.5*r.Value[byGate] >= r.Value[byTunnel]
	}})
	t.add(rate)
	t.add(took.row("CPU of what stands between", "us each", false, func(s []sample) float64 { return 1000 * cpuEach(s) }, aim{}))
	if took, err = b.by(ctx, b.slice, copyAll); err != nil {
		return err
	}
	t.add(took.row("COPY out", "MB/s", true, perSecond, aim{"300 MB/s", func(r row) bool { return r.Value[byGate] >= 300 }}))
	t.add(took.row("CPU of what stands between", "ms/MB", false, cpuEach, aim{}))
	return nil
}

// again does f, which says how much it did, until slice is over.
func again(ctx context.Context, w *way, slice time.Duration, f func(*pgconn.PgConn) (float64, error)) (s sample, err error) {
	c, err := pgconn.Connect(ctx, w.url())
	if err != nil {
		return s, err
	}
	defer c.Close(ctx)
	for begun := time.Now(); s.took < slice; s.took = time.Since(begun) {
		amount, err := f(c)
		if err != nil {
			return s, err
		}
		s.amount += amount
	}
	return s, nil
}

func selectAll(ctx context.Context, w *way, slice time.Duration) (sample, error) {
	return again(ctx, w, slice, func(c *pgconn.PgConn) (float64, error) {
		n := 0
		r := c.ExecParams(ctx, "SELECT id, name, email, card, ssn, since FROM people", nil, nil, nil, nil)
		for r.NextRow() {
			n++
		}
		if _, err := r.Close(); err != nil {
			return 0, err
		}
		if n != people {
			return 0, fmt.Errorf("%d rows of %d", n, people)
		}
		return float64(n), nil
	})
}

func copyAll(ctx context.Context, w *way, slice time.Duration) (sample, error) {
	return again(ctx, w, slice, func(c *pgconn.PgConn) (float64, error) {
		var n counter
		_, err := c.CopyTo(ctx, &n, "COPY people TO STDOUT")
		return float64(n) / 1e6, err
	})
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// idleDatabases measures what a connection takes in which nothing happens.
func (b *bench) idleDatabases(ctx context.Context) error {
	n := 500
	if b.o.quick {
		n = 50
	}
	t := b.report.table(fmt.Sprintf("PostgreSQL: memory of %d idle connections through one ssh -L", n), "Of what stands between, and not of PostgreSQL.")
	t.Heads = databaseHeads
	return b.fresh(ctx, "gate-databases", func(gate, _ *server) error {
		w, err := b.tunnel(ctx, "a fresh gate", gate)
		if err != nil {
			return err
		}
		ways := b.db.ways
		ways[byGate], ways[byItself] = w, nil
		var v [4]float64
		for i, w := range ways {
			if w == nil {
				continue
			}
			if v[i], err = b.idleOn(ctx, w, n); err != nil {
				return fmt.Errorf("%s: %w", databaseHeads[i], err)
			}
		}
		t.add(row{What: "each", Unit: "KB", Value: [3]float64(v[:3]), Fourth: v[3], Aim: aim{"< 50 KB", func(r row) bool { return r.Value[byGate] < 50 }}})
		return nil
	})
}

// idleOn opens n connections, each of which asks something once, and returns kilobytes for each.
func (b *bench) idleOn(ctx context.Context, w *way, n int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*trialLimit)
	defer cancel()
	open := make([]*pgconn.PgConn, n)
	defer func() {
		for _, c := range open {
			if c != nil {
				_ = c.Close(ctx) // it may have failed, which was said
			}
		}
	}()
	dial := func(i int) (err error) {
		if open[i], err = pgconn.Connect(ctx, w.url()); err == nil {
			_, err = open[i].Exec(ctx, "SELECT 1").ReadAll()
		}
		return err
	}
	if err := spread(openers, dial); err != nil {
		return 0, err
	}
	before, err := w.memory(ctx)
	if err != nil {
		return 0, err
	}
	if err := spread(n-openers, func(i int) error { return dial(openers + i) }); err != nil {
		return 0, err
	}
	after, err := w.memory(ctx)
	return (after - before) / float64(n-openers) / 1e3, err
}

func (w *way) memory(ctx context.Context) (float64, error) {
	if _, err := w.proc.settle(ctx); err != nil {
		return 0, err
	}
	own, _, err := w.proc.memory()
	return own, err
}

var (
	pgbenchRate  = regexp.MustCompile(`(?m)^tps = ([0-9.]+) `)
	pgbenchCount = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
)

// readPgbench takes statements a second from what it prints. They are those of the time between the first
// statement and the last, whatever connecting took.
func readPgbench(out []byte) (s sample, err error) {
	m := pgbenchRate.FindSubmatch(out)
	if m == nil {
		return s, fmt.Errorf("pgbench says nothing of its rate: %s", out)
	}
	rate, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return s, err
	}
	if m = pgbenchCount.FindSubmatch(out); m == nil {
		return s, fmt.Errorf("pgbench says nothing of its transactions: %s", out)
	}
	if s.amount, err = strconv.ParseFloat(string(m[1]), 64); err != nil || rate <= 0 {
		return s, errors.Join(err, errNothing)
	}
	s.took = time.Duration(s.amount / rate * 1e9)
	return s, nil
}

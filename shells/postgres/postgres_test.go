package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
	"github.com/sallyport-ssh/sallyport/integration/real"
)

var (
	server *real.Postgres
	parser *child.Pool
)

func TestMain(m *testing.M) {
	grammar.Intercept()
	runtime.LockOSThread() // PostgreSQL ends with the thread that started it
	var err error
	if server, err = real.StartPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	parser = child.New(child.Options{Command: []string{exe, grammar.Argument}})
	code := m.Run()
	parser.Close()
	server.Stop()
	os.Exit(code)
}

// A guard of tests decides by what its functions say, and remembers.
type guard struct {
	open   func(Opening) error
	admit  func(context.Context, Statement, func(Held)) error
	commit func() error
	clear  bool

	mu    sync.Mutex
	asked []Statement
	done  []Result
	shown strings.Builder
}

func (g *guard) Open(_ context.Context, o Opening, _ func(Held)) error {
	if g.open == nil {
		return nil
	}
	return g.open(o)
}

func (g *guard) Admit(ctx context.Context, s Statement, held func(Held)) (string, error) {
	g.mu.Lock()
	g.asked = append(g.asked, s)
	id := fmt.Sprint(len(g.asked))
	g.mu.Unlock()
	if g.admit == nil {
		return id, nil
	}
	return id, g.admit(ctx, s, held)
}

func (g *guard) Done(r Result) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = append(g.done, r)
	return nil
}

func (g *guard) Show(text []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shown.Write(text)
	return nil
}

// Commit fails when something says so.
func (g *guard) Commit() error {
	if g.commit == nil {
		return nil
	}
	return g.commit()
}

func (g *guard) Close() {}

func (g *guard) Clear() bool { return g.clear }

// texts are the statements that were asked about.
func (g *guard) texts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, s := range g.asked {
		out = append(out, s.Text)
	}
	return out
}

func (g *guard) transcript() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shown.String()
}

// refuse is an admit that refuses statements that hold a text.
func refuse(text string) func(context.Context, Statement, func(Held)) error {
	return func(_ context.Context, s Statement, _ func(Held)) error {
		if strings.Contains(s.Text, text) {
			return &Refusal{Message: "refused by policy no-" + text, Hint: "policy no-" + text}
		}
		return nil
	}
}

// A gate is a proxy on a socket of its own, and a database of its own behind it.
type gate struct {
	t        *testing.T
	target   *Target
	dir      string
	database string
	guard    *guard
	wg       sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// start makes a database with setup in it, and a proxy to it.
func start(t *testing.T, setup string, g *guard, protected ...Protected) *gate {
	t.Helper()
	return startAs(t, setup, g, Config{Protected: protected})
}

// startAs is start with a configuration of which the rest is filled in.
func startAs(t *testing.T, setup string, g *guard, c Config) *gate {
	t.Helper()
	database := strings.ToLower(strings.NewReplacer("/", "_", "#", "_", "-", "_").Replace(t.Name()))
	exec(t, "postgres", "create database "+database)
	exec(t, database, `do $$ begin if not exists (select from pg_roles where rolname = 'app') then create role app; create role boss; end if; end $$;
		grant create on schema public to app;`)
	exec(t, database, setup)
	exec(t, database, "grant all on all tables in schema public to app; grant all on all sequences in schema public to app")
	engine, err := mask.New(mask.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Name, c.Gate, c.Admin, c.Databases, c.Logins = "db", t.Name(), server.URL(database), []string{database}, []string{"app", "boss"}
	c.Parser, c.Masks, c.TokenKey, c.TLS = parser, engine, []byte("0123456789abcdef"), testTLS(t)
	target, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	gt := &gate{t: t, target: target, dir: dir, database: database, guard: g}
	ctx, cancel := context.WithCancel(context.Background())
	gt.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			gt.wg.Go(func() {
				defer c.Close()
				if err := target.Serve(ctx, c, g); err != nil {
					gt.mu.Lock()
					gt.errs = append(gt.errs, err)
					gt.mu.Unlock()
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		gt.wg.Wait()
		if roles := query(t, "postgres", "select rolname from pg_roles where starts_with(rolname, '"+target.role+"')"); roles != "" {
			t.Errorf("roles were left: %s", roles)
		}
		if err := target.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
		exec(t, "postgres", "drop database "+database+" with (force)")
	})
	return gt
}

// exec runs statements directly, as the operator would.
func exec(t *testing.T, database, text string) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), server.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.PgConn().Exec(context.Background(), text).ReadAll(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// query returns the values of a query that is run directly, one a line.
func query(t *testing.T, database, text string) string {
	t.Helper()
	c, err := pgx.Connect(context.Background(), server.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	rows, err := c.Query(context.Background(), text, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		v := ""
		for _, raw := range r.RawValues() {
			v += string(raw) + "|"
		}
		return strings.TrimSuffix(v, "|"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// url is how clients reach the proxy.
func (g *gate) url(more string) string {
	return fmt.Sprintf("host=%s port=5432 user=app dbname=%s sslmode=disable %s", g.dir, g.database, more)
}

// connect is a client of the proxy.
func (g *gate) connect(more string) *pgx.Conn {
	g.t.Helper()
	c, err := pgx.Connect(g.t.Context(), g.url(more))
	if err != nil {
		g.t.Fatal(err, g.failures())
	}
	// Tests go on with the bare connection, which nothing of pgx's may read from then.
	if err := c.PgConn().SyncConn(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func (g *gate) failures() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

const customers = `create table customers (id int primary key, name text, email text, card text, balance numeric);
	insert into customers values (1, 'Amara', 'amara@example.com', '4111111111111111', 10.5), (2, 'Bruno', 'bruno@example.com', '5555555555554444', null);`

func TestSimpleAndExtended(t *testing.T) {
	g := &guard{}
	gt := start(t, customers, g)
	for _, mode := range []string{"simple_protocol", "exec", "cache_describe", "cache_statement", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			c := gt.connect("default_query_exec_mode=" + mode)
			var name, email string
			if err := c.QueryRow(t.Context(), "select name, email from customers where id = $1", 1).Scan(&name, &email); err != nil {
				t.Fatal(err, gt.failures())
			}
			if name != "Amara" || strings.Contains(email, "amara@") || !strings.Contains(email, "*") {
				t.Errorf("got %q, %q", name, email)
			}
			tag, err := c.Exec(t.Context(), "update customers set name = name where id = $1", 2)
			if err != nil || tag.RowsAffected() != 1 {
				t.Errorf("update: %v, %v", tag, err)
			}
		})
	}
}

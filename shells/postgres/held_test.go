package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// holding is an admit that holds statements with the word "held", until answer is closed or ctx ends.
func holding(asked chan<- string, answer <-chan error) func(context.Context, Statement, func(Held)) error {
	return func(ctx context.Context, s Statement, tell func(Held)) error {
		if !strings.Contains(s.Text, "held") {
			return nil
		}
		tell(Held{Message: "held: waiting", Hint: "policy careful"})
		asked <- s.Text
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return &Refusal{Message: "withdrawn", Hint: "policy careful", Err: context.Cause(ctx)}
		}
	}
}

func noticed(c *pgx.ConnConfig) chan string {
	out := make(chan string, 100)
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { out <- n.Message }
	return out
}

// TestHeld holds a statement: its client hears of it, and it runs when it is let go.
func TestHeld(t *testing.T) {
	asked, answer := make(chan string, 1), make(chan error)
	gt := start(t, "create table t (a int)", &guard{admit: holding(asked, answer)})
	config, err := pgx.ParseConfig(gt.url(""))
	if err != nil {
		t.Fatal(err)
	}
	notices := noticed(config)
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, let := range []bool{true, false} {
		done := make(chan error, 1)
		go func() { _, err := c.Exec(t.Context(), "insert into t values (1) -- held"); done <- err }()
		<-asked
		if n := <-notices; n != "held: waiting" {
			t.Errorf("notice %q", n)
		}
		if let {
			answer <- nil
			if err := <-done; err != nil {
				t.Error(err)
			}
		} else {
			answer <- &Refusal{Message: "denied by Ann", Hint: "policy careful"}
			denied(t, <-done)
		}
	}
	if got := query(t, gt.database, "select count(*) from t"); got != "1" {
		t.Errorf("%s rows", got)
	}
}

// TestCancel cancels what waits, and what runs, by the key that the client was given.
func TestCancel(t *testing.T) {
	asked := make(chan string, 1)
	gt := start(t, "", &guard{admit: holding(asked, nil)})
	c := gt.connect("")
	for _, text := range []string{"select 1 as held", "select pg_sleep(600)"} {
		done := make(chan error, 1)
		go func() { _, err := c.Exec(context.Background(), text, pgx.QueryExecModeSimpleProtocol); done <- err }()
		if strings.Contains(text, "held") {
			<-asked
		} else {
			gt.until("the statement runs", func() bool {
				return query(t, "postgres", "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'") == "1"
			})
		}
		if err := c.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		var pg *pgconn.PgError
		if err := <-done; !errors.As(err, &pg) || pg.Code != "57014" {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := c.Exec(t.Context(), "select 1"); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
}

// until waits for something that happens elsewhere.
func (g *gate) until(what string, yes func() bool) {
	g.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-late.C:
			g.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// TestForeignKeyCancelsNothing cancels with a wrong secret.
func TestForeignKeyCancelsNothing(t *testing.T) {
	asked, answer := make(chan string, 1), make(chan error)
	gt := start(t, "", &guard{admit: holding(asked, answer)})
	c := gt.connect("")
	done := make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), "select 1 as held"); done <- err }()
	<-asked
	k, err := net.Dial("unix", filepath.Join(gt.dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 16}, codeCancel)
	b = binary.BigEndian.AppendUint32(b, c.PgConn().PID())
	b = append(b, 1, 2, 3, 4)
	if _, err := k.Write(b); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(k); err != nil || len(rest) > 0 {
		t.Errorf("answered %q, %v", rest, err)
	}
	answer <- nil
	if err := <-done; err != nil {
		t.Errorf("it was cancelled: %v", err)
	}
}

// TestDisconnectWhileHeld withdraws what nobody waits for any more.
func TestDisconnectWhileHeld(t *testing.T) {
	asked := make(chan string, 1)
	gone := make(chan error, 1)
	gt := start(t, "", &guard{admit: func(ctx context.Context, s Statement, tell func(Held)) error {
		tell(Held{Message: "held"})
		asked <- s.Text
		<-ctx.Done()
		gone <- context.Cause(ctx)
		return ctx.Err()
	}})
	for _, polite := range []bool{true, false} {
		conn := gt.connect("").PgConn().Conn()
		if _, err := conn.Write(message(nil, 'Q', func(b []byte) []byte { return appendText(b, "select 1") })); err != nil {
			t.Fatal(err)
		}
		<-asked
		if polite { // it says so, and stays
			if _, err := conn.Write([]byte{'X', 0, 0, 0, 4}); err != nil {
				t.Fatal(err)
			}
		} else {
			conn.Close()
		}
		if err := <-gone; !errors.Is(err, errGone) {
			t.Errorf("polite %t: ended by %v", polite, err)
		}
	}
}

// TestTypeAhead sends more while a statement is held: it runs after it, in order.
func TestTypeAhead(t *testing.T) {
	asked, answer := make(chan string, 1), make(chan error)
	gt := start(t, "create table t (a int)", &guard{admit: holding(asked, answer)})
	conn := gt.connect("").PgConn().Conn()
	send := func(text string) {
		if _, err := conn.Write(message(nil, 'Q', func(b []byte) []byte { return appendText(b, text) })); err != nil {
			t.Error(err)
		}
	}
	send("insert into t values (1) -- held")
	<-asked
	go func() { // more than the gate reads ahead
		for range 40 {
			send("insert into t values (2) --" + strings.Repeat("x", 60_000))
		}
	}()
	answer <- nil
	var all bytes.Buffer
	buf := make([]byte, 4096)
	for bytes.Count(all.Bytes(), []byte("INSERT 0 1\x00")) < 41 {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err, gt.failures())
		}
		all.Write(buf[:n])
	}
	if got := query(t, gt.database, "select min(a) || '/' || count(*) from t"); got != "1/41" {
		t.Errorf("got %s", got)
	}
}

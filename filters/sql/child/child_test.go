package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
)

func TestMain(m *testing.M) {
	grammar.Intercept()
	os.Exit(m.Run())
}

var sure = sql.Session{PlainBackslash: true, UTF8: true}

func pool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.Command == nil {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		o.Command = []string{exe, grammar.Argument}
	}
	p := New(o)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestRead(t *testing.T) {
	p := pool(t, Options{})
	for range 2 { // once from the process, once from memory
		r, err := p.Read(t.Context(), "select 1; delete from t", sure)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Statements) != 2 || r.Statements[0].Action != "sql:select" || !r.Statements[1].Unbounded || r.Syntax != "" {
			t.Errorf("got %+v", r)
		}
	}
	r, err := p.Read(t.Context(), "selec 1", sure)
	if err != nil || !r.Statements[0].Opaque || !r.Refused || !strings.Contains(r.Syntax, "syntax error") {
		t.Errorf("a typo: %+v, %v", r, err)
	}
	// The same text, cut differently: what is remembered of it does not count.
	if r, err := p.Read(t.Context(), `select '\'`, sure); err != nil || r.Statements[0].Opaque {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := p.Read(t.Context(), `select '\'`, sql.Session{UTF8: true}); err != nil || !r.Statements[0].Opaque {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCrash goes around the limits, to show what they and the process are for: the grammar dies, the gate
// does not, and the next text is read.
func TestCrash(t *testing.T) {
	p := pool(t, Options{Processes: 1})
	text := "select 1" + strings.Repeat("+1", 400000)
	r, err := p.ask(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Died || !r.Statements[0].Opaque {
		t.Errorf("got %+v: was the grammar mended? then the limits could go up", r)
	}
	if r, err := p.Read(t.Context(), "select 1", sure); err != nil || r.Statements[0].Opaque {
		t.Errorf("after the crash: %+v, %v", r, err)
	}
}

// TestLimitsHold gives the grammar the worst that passes the limits.
func TestLimitsHold(t *testing.T) {
	p := pool(t, Options{Processes: 1, Timeout: time.Minute})
	for _, text := range []string{
		"select 1" + strings.Repeat("+1", sql.MaxTerms-1),
		"select " + strings.Repeat("-", 1) + strings.Repeat(" -", sql.MaxTerms-2) + "1",
		"select true" + strings.Repeat(" and not true", sql.MaxTerms/3),
		"select " + strings.Repeat("(", sql.MaxNesting) + "1" + strings.Repeat(")", sql.MaxNesting),
		"select 1" + strings.Repeat(" union select 1", sql.MaxTerms/2),
		"select a" + strings.Repeat("[1", sql.MaxNesting) + strings.Repeat("]", sql.MaxNesting),
		"select 1 in (" + strings.Repeat("1,", 200000) + "1)",
		"select 1" + strings.Repeat("::int", sql.MaxTerms/3),
	} {
		r, err := p.Read(t.Context(), text, sure)
		if err != nil {
			t.Fatal(err)
		}
		if r.Died {
			t.Errorf("%.30q... of %d bytes ended the parser", text, len(text))
		}
	}
}

func TestTimeout(t *testing.T) {
	p := pool(t, Options{Command: []string{"/bin/sleep", "1000"}, Timeout: 20 * time.Millisecond})
	r, err := p.Read(t.Context(), "select 1", sure)
	if err != nil || !r.Died || !r.Statements[0].Opaque {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestLiar is a parser that was taken over: what it says must fit the text.
func TestLiar(t *testing.T) {
	for _, body := range []string{
		`{"statements":[{"start":0,"end":99}]}`, `{"statements":[{"start":4,"end":8},{"start":0,"end":3}]}`, `{"statements":[{"start":-1,"end":2}]}`, `nonsense`,
	} {
		script := fmt.Sprintf(`printf '\0\0\0\%03o%%s' '%s'; sleep 1000`, len(body), body)
		p := pool(t, Options{Command: []string{"/bin/sh", "-c", script}})
		r, err := p.Read(t.Context(), "select 1", sure)
		if err != nil || !r.Died || !r.Statements[0].Opaque {
			t.Errorf("%s: got %+v, %v", body, r, err)
		}
	}
}

func TestNoParser(t *testing.T) {
	p := pool(t, Options{Command: []string{"/nonexistent"}})
	if r, err := p.Read(t.Context(), "select 1", sure); err == nil {
		t.Errorf("read without a parser: %+v", r)
	}
}

// TestWaits ends a wait for a process with the context.
func TestWaits(t *testing.T) {
	p := pool(t, Options{Processes: 1})
	taken := <-p.free
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := p.Read(ctx, "select 1", sure); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	p.free <- taken
}

func TestConcurrent(t *testing.T) {
	p := pool(t, Options{Cached: 8})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				table := fmt.Sprintf("t%d", (i*7+j)%20)
				r, err := p.Read(t.Context(), "select * from "+table, sure)
				if err != nil || r.Statements[0].Reads[0] != table {
					t.Errorf("%s: %+v, %v", table, r, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		name   string
		cached int
	}{{"remembered", 100}, {"fresh", 1}} {
		b.Run(bb.name, func(b *testing.B) {
			p := pool(b, Options{Cached: bb.cached})
			texts := []string{"SELECT abalance FROM pgbench_accounts WHERE aid = 1", "SELECT abalance FROM pgbench_accounts WHERE aid = 2"}
			for i := 0; b.Loop(); i++ {
				if _, err := p.Read(b.Context(), texts[i%2], sure); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

const crowd = `create table crowd as select i as id, case when i % 7 = 0 then null else 'user' || i || '@example.com' end as email,
	case when i % 11 = 0 then 'ünïcode ' || i else 'secret-' || i end as secret, case when i % 13 = 0 then E'\x1b]0;' else 'plain ' || i end as plain,
	case when i % 5 = 0 then 4111111111111111 else i end as number from generate_series(1, 5000) i`

// TestManyRows selects and copies more rows than come at once, of all the kinds that blocks treat differently.
func TestManyRows(t *testing.T) {
	g := &guard{}
	gt := start(t, crowd, g, Protected{"public.crowd", "secret", "last4"})
	check := func(t *testing.T, id int, email, secret, plain, number string) {
		t.Helper()
		wantEmail, wantSecret, wantPlain := "u"+strings.Repeat("*", len(fmt.Sprint("ser", id)))+"@*******.***", fmt.Sprint("secret-", id), fmt.Sprint("plain ", id)
		if id%7 == 0 {
			wantEmail = ""
		}
		if id%11 == 0 {
			wantSecret = fmt.Sprint("ünïcode ", id)
		}
		if n := len([]rune(wantSecret)); n >= 8 {
			wantSecret = strings.Repeat("*", n-4) + string([]rune(wantSecret)[n-4:])
		} else {
			wantSecret = strings.Repeat("*", n)
		}
		if id%13 == 0 {
			wantPlain = "\x1b]0;"
		}
		if email != wantEmail || secret != wantSecret || plain != wantPlain || id%5 == 0 && number == "4111111111111111" || id%5 != 0 && number != fmt.Sprint(id) {
			t.Fatalf("row %d: %q, %q, %q, %q", id, email, secret, plain, number)
		}
	}
	c := gt.connect("").PgConn()
	for range 2 {
		r := c.ExecParams(t.Context(), "select id, email, secret, plain, number from crowd order by id", nil, nil, nil, nil)
		n := 0
		for r.NextRow() {
			n++
			v := r.Values()
			check(t, n, string(v[1]), string(v[2]), string(v[3]), string(v[4]))
		}
		if _, err := r.Close(); err != nil || n != 5000 {
			t.Fatalf("%d rows, %v, %v", n, err, gt.failures())
		}
	}
	for _, format := range []string{"", " csv"} {
		var out bytes.Buffer
		if _, err := c.CopyTo(t.Context(), &out, "copy crowd to stdout"+format); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 5000 {
			t.Fatalf("%d lines", len(lines))
		}
		for i, line := range lines {
			f := strings.Split(line, map[string]string{"": "\t", " csv": ","}[format])
			if strings.TrimPrefix(f[1], `\N`) == "" {
				f[1] = ""
			}
			if strings.HasPrefix(f[4], "411111") && strings.Contains(f[4], "*") {
				f[4] = "masked"
			}
			check(t, i+1, f[1], f[2], f[3], f[4])
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.done[:4] {
		if d.Rows != 5000 || d.Masked < 5000 || d.Bytes < 100_000 {
			t.Errorf("the record says %+v", d)
		}
	}
	if shown := g.shown.String(); !strings.Contains(shown, "(5000 rows, 10 shown)") || strings.Contains(shown, "example") {
		t.Errorf("the record shows %.300q", shown)
	}
}

// TestNothingIsSentBeforeItIsWrittenDown has a record that cannot be written any more: the statement does not run, and
// of one that ran nothing is shown.
func TestNothingIsSentBeforeItIsWrittenDown(t *testing.T) {
	for name, times := range map[string]int64{"before it is sent": 0, "before it is shown": 1} {
		t.Run(name, func(t *testing.T) {
			var left atomic.Int64
			left.Store(1 << 40)
			g := &guard{commit: func() error {
				if left.Add(-1) < 0 {
					return errors.New("the disk is full")
				}
				return nil
			}}
			gt := start(t, "create table marks (n int)", g)
			c := gt.connect("").PgConn()
			left.Store(times)
			r := c.ExecParams(t.Context(), "insert into marks values ($1) returning 'it was shown'", [][]byte{[]byte("1")}, nil, nil, nil).Read()
			if r.Err == nil || len(r.Rows) > 0 {
				t.Errorf("it was shown: %q, %v", r.Rows, r.Err)
			}
			if n := query(t, gt.database, "select count(*) from marks"); times == 0 && n != "0" {
				t.Errorf("it ran, unrecorded: %s rows", n)
			}
		})
	}
}

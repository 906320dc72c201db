package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestRecordedRows records as many rows of each result as was asked for, masked, and no more.
func TestRecordedRows(t *testing.T) {
	const wide = "select i, '4111111111111111' as card, repeat('x', 300) as long from generate_series(1, 1800) i"
	for _, tt := range []struct{ limit, shown int }{{0, 10}, {700, 700}, {5000, 1800}} {
		t.Run(fmt.Sprint(tt.limit), func(t *testing.T) {
			g := &guard{}
			gt := startAs(t, "", g, Config{ShownRows: tt.limit})
			c := gt.connect("").PgConn()
			if _, err := c.Exec(t.Context(), wide).ReadAll(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.CopyTo(t.Context(), &bytes.Buffer{}, "copy ("+wide+") to stdout"); err != nil {
				t.Fatal(err)
			}
			c.Close(t.Context())
			text := g.transcript()
			table, copied, _ := strings.Cut(text, "=> copy")
			if n := strings.Count(table, " | 411111******"); n != tt.shown {
				t.Errorf("%d: %d rows are shown", tt.limit, n)
			}
			if strings.Count(table, "\n----") != 1 || !strings.Contains(table, "(1800 rows") {
				t.Errorf("%d: not one table:\n%.500s", tt.limit, table)
			}
			if n := strings.Count(copied, "411111******"); tt.limit > 0 && n < tt.shown {
				t.Errorf("%d: %d rows of COPY are shown", tt.limit, n)
			}
			if long := strings.Contains(table, strings.Repeat("x", 300)); long != (tt.limit > 0) {
				t.Errorf("%d: whole values: %v", tt.limit, long)
			}
		})
	}
}

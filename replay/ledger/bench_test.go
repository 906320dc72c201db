package ledger_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func benchBoth(b *testing.B, f func(b *testing.B, l *ledger.Ledger)) {
	b.Run("sqlite", func(b *testing.B) { f(b, open(b, newSQLite(b))) })
	b.Run("postgres", func(b *testing.B) { f(b, open(b, newPostgres(b))) })
}

func BenchmarkSession(b *testing.B) {
	benchBoth(b, func(b *testing.B, l *ledger.Ledger) {
		n := 0
		for b.Loop() {
			n++
			s := session(n)
			if err := l.StartSession(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			if err := l.EndSession(b.Context(), s.ID, end(n)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAddOperation(b *testing.B) {
	for _, parallel := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", parallel), func(b *testing.B) {
			benchBoth(b, func(b *testing.B, l *ledger.Ledger) { benchAddOperation(b, l, parallel) })
		})
	}
}

func benchAddOperation(b *testing.B, l *ledger.Ledger, parallel int) {
	var sessions, operations atomic.Int64
	b.SetParallelism(max(1, parallel/2))
	b.RunParallel(func(pb *testing.PB) {
		s := session(int(sessions.Add(1)))
		if err := l.StartSession(b.Context(), s); err != nil {
			b.Fatal(err)
		}
		for i := int64(1); pb.Next(); i++ {
			o := operation(s.ID, i)
			o.ID = fmt.Sprintf("op%016d", operations.Add(1))
			if err := l.AddOperation(b.Context(), o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(operations.Load()), "us/row")
}

func BenchmarkAddOperations(b *testing.B) {
	benchBoth(b, func(b *testing.B, l *ledger.Ledger) {
		start(b, l, session(1))
		batch := make([]ledger.Operation, 64)
		var n int64
		for b.Loop() {
			for i := range batch {
				n++
				batch[i] = operation(session(1).ID, n)
			}
			if err := l.AddOperations(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "us/row")
	})
}

// The first session of everything that tests store.
var began = time.Date(2026, 11, 3, 9, 0, 0, 123456000, time.UTC)

func session(n int) ledger.Session {
	return ledger.Session{
		ID: fmt.Sprintf("s%019d", n), ConnectionID: fmt.Sprintf("c%09d", n/2), Gate: "gate1",
		Identity: ledger.Identity{
			Issuer: "https://id.example", Subject: fmt.Sprintf("u%d", n%3), Name: fmt.Sprintf("User %d", n%3),
			Email: fmt.Sprintf("u%d@example.com", n%3), Kind: "human", Groups: []string{"dev", "dba"},
		},
		Target: fmt.Sprintf("web%d", n%4), TargetKind: "ssh", Login: "deploy", Kind: "exec", Command: "uptime",
		ClientAddr: "192.0.2.7:51034", Guard: "hook", Term: "xterm-256color", Cols: 80, Rows: 24,
		Started: began.Add(time.Duration(n) * time.Second),
	}
}

func end(n int) ledger.End {
	status := n % 3
	seal := make([]byte, 32)
	seal[0], seal[1], seal[2] = byte(n), byte(n>>8), byte(n>>16)
	return ledger.End{
		Ended: began.Add(time.Duration(n)*time.Second + time.Minute), State: ledger.Complete, ExitStatus: &status,
		Reason: "exit", BytesOut: 12345, Masked: 3, SealHash: seal,
	}
}

func operation(sessionID string, sequence int64) ledger.Operation {
	return ledger.Operation{
		ID: fmt.Sprintf("o%s%09d", sessionID, sequence), SessionID: sessionID, Sequence: sequence,
		Offset: time.Duration(sequence) * 150 * time.Millisecond, Time: began.Add(time.Duration(sequence) * 150 * time.Millisecond),
		Action: "command:run", Text: "grep -n 'ERROR' /var/log/app.log | tail -20",
		Facts:    map[string]any{"opaque": false, "words": int64(6), "program": "grep", "classes": []string{"read"}},
		Decision: "allow", Policy: "allow-read",
	}
}

// Two million operations of which few, many or none hold what is searched for. Each search is made many times, and
// the slowest of them count: p50-ms and p99-ms.
func BenchmarkFind(b *testing.B) {
	const rows = 2_000_000
	series := map[string]string{
		"sqlite":   fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)", rows),
		"postgres": fmt.Sprintf("WITH s AS (SELECT i FROM generate_series(1, %d::bigint) i)", rows),
	}
	for name, url := range map[string]func(testing.TB) string{"sqlite": newSQLite, "postgres": newPostgres} {
		b.Run(name, func(b *testing.B) {
			u := url(b)
			l := open(b, u)
			for n := range 4 {
				start(b, l, session(n))
			}
			tamper(b, u, series[name]+` INSERT INTO operations (id, session_id, sequence, offset_ms, at, identity_key, behalf_key, target,
				action, text, facts, decision, policy, hold_id)
				SELECT 'o' || i, 's000000000000000000' || (i % 4), i, i, `+fmt.Sprint(began.UnixMicro())+` + i * 1000, 'https://id.example#u' || (i % 1000), '',
				'web' || (i % 500), 'command:run', 'kubectl get pods --namespace team-' || (i % 997) || ' --selector app=svc' || (i * 7919 % 1000003) ||
				CASE WHEN i % 100000 = 5 THEN ' && drop table customers' ELSE '' END, CASE WHEN i % 5000 = 0 THEN '{"classes":["destructive"]}' ELSE '{"classes":["read"]}' END,
				CASE WHEN i % 1000 = 0 THEN 'deny' ELSE 'allow' END, 'p', '' FROM s`)
			if name == "postgres" {
				tamper(b, u, "ANALYZE")
			}
			for _, q := range []struct {
				name string
				f    ledger.Find
			}{
				{"newest", ledger.Find{}},
				{"rare text", ledger.Find{Text: "drop table customers"}},
				{"common text", ledger.Find{Text: "get pods"}},
				{"common text, long ago", ledger.Find{Text: "get pods", Until: began.Add(20 * time.Second)}},
				{"common trigrams, no such text", ledger.Find{Text: "pods --selector"}},
				{"absent text", ledger.Find{Text: "shred /dev/sda"}},
				{"one service of a million", ledger.Find{Text: "app=svc777777"}},
				{"one target", ledger.Find{Target: "web77"}},
				{"one identity", ledger.Find{Identity: "https://id.example#u77"}},
				{"denied", ledger.Find{Decision: "deny"}},
				{"class", ledger.Find{Class: "destructive"}},
				{"exit status", ledger.Find{Exit: "1"}},
				{"text and target", ledger.Find{Text: "get pods", Target: "web77"}},
				{"text, identity and class", ledger.Find{Text: "pods", Identity: "https://id.example#u0", Class: "destructive"}},
			} {
				b.Run(q.name, func(b *testing.B) { quantiles(b, func() error { _, err := l.Find(b.Context(), q.f); return err }) })
			}
		})
	}
}

// quantiles measures f, often enough for a 99th percentile.
func quantiles(b *testing.B, f func() error) {
	var took []time.Duration
	for b.Loop() {
		since := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(since))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

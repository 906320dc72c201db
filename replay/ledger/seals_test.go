package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func seal(n int) ledger.Seal {
	h := sha256.Sum256(fmt.Append(nil, n))
	return ledger.Seal{SessionID: session(n).ID, Hash: h[:], State: ledger.Complete, At: began.Add(time.Duration(n) * time.Second)}
}

func appendSeals(t *testing.T, l *ledger.Ledger, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.AppendSeal(t.Context(), seal(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func verifySeals(t *testing.T, l *ledger.Ledger, kept ...ledger.Head) ledger.SealReport {
	t.Helper()
	r, err := l.VerifySeals(t.Context(), kept...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealChain(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		if r := verifySeals(t, l); r.Checked != 0 || len(r.Problems) > 0 {
			t.Errorf("empty chain: %+v", r)
		}
		appendSeals(t, l, 3)
		all, err := l.Seals(ctx, 0)
		if err != nil || len(all) != 3 || all[1].N != 2 || !bytes.Equal(all[1].Previous, all[0].Link) {
			t.Fatalf("%+v, %v", all, err)
		}
		again, err := l.AppendSeal(ctx, seal(1))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "the same seal again", again, all[1])
		changed := seal(1)
		changed.Hash = seal(2).Hash
		_, err = l.AppendSeal(ctx, changed)
		wantErr(t, err, ledger.ErrEnded)
		short := seal(7)
		short.Hash = short.Hash[:31]
		_, err = l.AppendSeal(ctx, short)
		wantErr(t, err, ledger.ErrInvalid)
		of, err := l.SealsOf(ctx, seal(2).SessionID)
		if err != nil || len(of) != 1 {
			t.Fatal(of, err)
		}
		diff(t, "seals of a session", of[0], all[2])
		r := verifySeals(t, l, ledger.Head{N: 2, Link: all[1].Link})
		if r.Checked != 3 || len(r.Problems) > 0 || r.Head.N != 3 || !bytes.Equal(r.Head.Link, all[2].Link) {
			t.Errorf("%+v", r)
		}
	})
}

// The link is written down in the README: others compute it too.
func TestSealLink(t *testing.T) {
	l := open(t, newSQLite(t))
	s, err := l.AppendSeal(t.Context(), ledger.Seal{SessionID: "0123456789", Hash: make([]byte, 32), State: ledger.Recovered, At: time.UnixMicro(1)})
	if err != nil {
		t.Fatal(err)
	}
	size := func(n int) string { return string([]byte{0, 0, 0, 0, 0, 0, 0, byte(n)}) }
	zeros := strings.Repeat("\x00", 32)
	want := sha256.Sum256([]byte(size(16) + "sallyport seal 1" + size(32) + zeros + size(10) + "0123456789" + size(32) + zeros +
		size(9) + "recovered" + size(1)))
	if !bytes.Equal(s.Link, want[:]) {
		t.Errorf("link %x, want %x", s.Link, want)
	}
}

// Every way to change the table is found, where it happened.
func TestSealTampering(t *testing.T) {
	for _, tt := range []struct {
		name string
		sql  []string
		kept bool // tell the verifier of the head before the change
		n    int64
		what string
	}{
		{"remove from the middle", []string{"DELETE FROM seals WHERE n = 3"}, false, 4, "seals 3 to 3 are missing"},
		{"remove the first", []string{"DELETE FROM seals WHERE n <= 2"}, false, 3, "seals 1 to 2 are missing"},
		{"remove the last", []string{"DELETE FROM seals WHERE n >= 5"}, false, 6, "seals 5 to 6 are missing at the end"},
		{"remove the last and turn the head back", []string{"DELETE FROM seals WHERE n = 6",
			"UPDATE seal_head SET n = 5, hash = (SELECT hash FROM seals WHERE n = 5)"}, true, 6, "a kept head says there were 6"},
		{"remove all", []string{"DELETE FROM seals"}, false, 6, "seals 1 to 6 are missing at the end"},
		{"remove the head", []string{"DELETE FROM seal_head"}, false, 0, "head of the chain is missing"},
		{"edit the session", []string{"UPDATE seals SET session_id = 'another' WHERE n = 3"}, false, 3, "was edited"},
		{"edit the state", []string{"UPDATE seals SET state = 'truncated' WHERE n = 3"}, false, 3, "was edited"},
		{"edit the time", []string{"UPDATE seals SET at = at + 1 WHERE n = 3"}, false, 3, "was edited"},
		{"edit the hash of the recording", []string{"UPDATE seals SET seal_hash = previous WHERE n = 3"}, false, 3, "was edited"},
		{"edit the link", []string{"UPDATE seals SET hash = previous WHERE n = 3"}, false, 4, "does not follow seal 3"},
		{"swap two", []string{"UPDATE seals SET n = 100 WHERE n = 3", "UPDATE seals SET n = 3 WHERE n = 4", "UPDATE seals SET n = 4 WHERE n = 100"},
			false, 3, "does not follow seal 2"},
		{"close a gap", []string{"DELETE FROM seals WHERE n = 3", "UPDATE seals SET n = 3 WHERE n = 4"}, false, 3, "does not follow seal 2"},
		{"insert", []string{"INSERT INTO seals (n, session_id, seal_hash, state, at, previous, hash) SELECT 7, 'new', seal_hash, state, at, hash, hash FROM seals WHERE n = 6"},
			false, 7, "was edited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, url string) {
				l := open(t, url)
				appendSeals(t, l, 6)
				head, err := l.SealHead(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				tamper(t, url, tt.sql...)
				var kept []ledger.Head
				if tt.kept {
					kept = append(kept, head)
				}
				wantProblem(t, verifySeals(t, l, kept...), tt.n, tt.what)
			})
		})
	}
}

func wantProblem(t *testing.T, r ledger.SealReport, n int64, what string) {
	t.Helper()
	for _, p := range r.Problems {
		if p.N == n && strings.Contains(p.What, what) {
			return
		}
	}
	t.Errorf("no problem %q at %d in %+v", what, n, r.Problems)
}

// Somebody who can write the whole database makes a new chain; a head that was kept elsewhere tells.
func TestSealChainMadeAnew(t *testing.T) {
	l := open(t, newSQLite(t))
	appendSeals(t, l, 6)
	head, err := l.SealHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forged := open(t, newSQLite(t))
	for i := range 6 {
		s := seal(i)
		if i == 2 {
			s.State = ledger.Truncated
		}
		if _, err := forged.AppendSeal(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if r := verifySeals(t, forged); len(r.Problems) > 0 {
		t.Errorf("a whole chain has problems: %+v", r)
	}
	wantProblem(t, verifySeals(t, forged, head), 6, "made anew")
}

func TestSealsAndSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		for n := range 3 {
			start(t, l, session(n))
			if err := l.EndSession(t.Context(), session(n).ID, end(n)); err != nil {
				t.Fatal(err)
			}
		}
		if r := verifySeals(t, l); r.Checked != 3 || len(r.Problems) > 0 {
			t.Errorf("%+v", r)
		}
		tamper(t, url, "UPDATE sessions SET seal_hash = (SELECT seal_hash FROM seals WHERE n = 1) WHERE id = '"+session(1).ID+"'")
		wantProblem(t, verifySeals(t, l), 0, "the session's seal is not in the chain")
	})
}

// Two gates, many goroutines: one chain without a gap.
func TestSealsConcurrently(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		gates := []*ledger.Ledger{open(t, url), open(t, url)}
		const writers, each = 8, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if _, err := gates[w%2].AppendSeal(t.Context(), seal(w*each+i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if r := verifySeals(t, gates[0]); r.Checked != writers*each || len(r.Problems) > 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestSealProblemsAreBounded(t *testing.T) {
	l := open(t, newSQLite(t))
	appendSeals(t, l, ledger.MaxProblems+50)
	url := newSQLite(t)
	copied := open(t, url)
	appendSeals(t, copied, ledger.MaxProblems+50)
	tamper(t, url, "UPDATE seals SET at = at + 1")
	r := verifySeals(t, copied)
	if len(r.Problems) != ledger.MaxProblems || !r.More || r.Checked != ledger.MaxProblems+50 {
		t.Errorf("%d problems, more %v, checked %d", len(r.Problems), r.More, r.Checked)
	}
	if head, err := l.SealHead(t.Context()); err != nil || hex.EncodeToString(head.Link) != hex.EncodeToString(r.Head.Link) {
		t.Errorf("head %x, want %x, %v", r.Head.Link, head.Link, err)
	}
}

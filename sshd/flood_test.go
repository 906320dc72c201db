package sshd

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(3, 5)
		passed := func(n int, key string) (got int) {
			for range n {
				if l.take(key, "g") {
					got++
				}
			}
			return got
		}
		if got := passed(10, "a"); got != 3 {
			t.Errorf("%d of one key passed, want 3", got)
		}
		if got := passed(10, "b"); got != 2 {
			t.Errorf("%d of the next passed, want the 2 that are left for all", got)
		}
		if !l.full("a") || l.full("c") {
			t.Error("a has used up its share, c has not")
		}
		if r := l.report(false); r != nil {
			t.Errorf("reported %v while the window is open", r)
		}
		time.Sleep(floodWindow)
		if r := l.report(false); r["g"] != 15 {
			t.Errorf("reported %v, want the 15 that did not pass", r)
		}
		if r := l.report(true); r != nil {
			t.Errorf("reported %v twice", r)
		}
		if got := passed(10, "a"); got != 3 {
			t.Errorf("%d passed in the next window, want 3", got)
		}
		if r := l.report(true); r["g"] != 7 {
			t.Errorf("reported %v at the end, want 7", r)
		}
	})
}

// Sources without number cannot make the limiter itself grow.
func TestLimiterKeys(t *testing.T) {
	l := newLimiter(3, 1<<30)
	passed := 0
	for i := range 10 * maxFloodKeys {
		if l.take(fmt.Sprint(i), "g") {
			passed++
		}
	}
	if len(l.seen) > maxFloodKeys+1 || passed > maxFloodKeys+3 {
		t.Errorf("%d keys are kept and %d passed, the limit is %d", len(l.seen), passed, maxFloodKeys)
	}
}
